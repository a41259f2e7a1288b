"""Morphable models: readers of official files, the builder of the embedded model, checks."""
