"""Timings: `python -m benchmarks`."""
