"""Samplers: what proposes the next architecture."""
