"""Weights files told apart by the stage that they hold."""

from pathlib import Path

from face3d.checkpoint import load_weights


def by_stage(paths: tuple[Path, ...]) -> dict[str, Path]:
    """Weights files by their stage. ValueError for two of one stage."""
    found: dict[str, Path] = {}
    for path in paths:
        stage = str(load_weights(path)[1].get("stage"))
        if stage in found:
            raise ValueError(f"{found[stage]} and {path} are both of stage {stage!r}: pass one")
        found[stage] = path
    return found
