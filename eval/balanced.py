"""The papers' curves are of 696 photos of AFLW2000-3D, 232 a bin of yaw, drawn by chance; theirs are not published."""

import numpy as np
from jaxtyping import Float, Int

from face3d.metrics import YAW_EDGES_DEG, cumulative_error

PER_BIN = 232
"""As many as the third bin of the papers' split has."""
THRESHOLDS_PERCENT = tuple(range(1, 11))
_SEED = 696


def balanced_subset(yaw_deg: Float[np.ndarray, " N"], per_bin: int = PER_BIN) -> Int[np.ndarray, " M"] | None:
    """Rows of `per_bin` photos of each bin of |yaw|, in order, the same every time; None where a bin has too few."""
    rng = np.random.default_rng(_SEED)
    bins = np.searchsorted(YAW_EDGES_DEG, np.abs(yaw_deg), side="left")
    groups = [np.flatnonzero(bins == index) for index in range(len(YAW_EDGES_DEG) + 1)]
    if min(len(group) for group in groups) < per_bin:
        return None
    return np.sort(np.concatenate([rng.choice(group, per_bin, replace=False) for group in groups]))


def curve(nme_percent: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Share of photos with an NME of at most 1, 2, ... 10 %: the cumulative error distribution."""
    shares = cumulative_error(nme_percent, np.array(THRESHOLDS_PERCENT, np.float64))
    return {str(threshold): float(share) for threshold, share in zip(THRESHOLDS_PERCENT, shares, strict=True)}
