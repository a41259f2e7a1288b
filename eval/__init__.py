"""Protocols, adapters and reports: `python -m eval BENCHMARK`."""
