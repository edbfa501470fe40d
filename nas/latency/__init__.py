"""Latency of an architecture on a device: tables, prediction, roofline estimates."""
