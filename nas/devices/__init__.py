"""Profiling a device: what to measure, with which runtime, how, and the table it gives."""
