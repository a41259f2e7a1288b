"""The README's table of results, made from runs that were measured before."""
