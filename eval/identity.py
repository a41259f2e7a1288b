"""Do different people look different? Spread of identity coefficients, and whether they tell people apart, on LFW.

Coefficients are in standard deviations of the prior, so a spread of 1 is the prior's; 0 is a collapsed identity.
Distance of two photos: Euclidean, over all coefficients. Verification: area under the ROC curve of "near means same".
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from eval.lfw import Lfw, Member
from eval.protocol import Method, boxes_of
from face3d.metrics import area_under_roc


def score_identity(photos: Lfw, method: Method, count: int = 200, seed: int = 0) -> dict[str, Any]:
    """Spread over `count` people and verification on their pairs; who is not found is left out and named."""
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    left_out: dict[str, str] = {}
    for person, *members in photos.pairs(count, seed):
        codes = [_identity(photos, member, method) for member in members]
        first, second = codes
        if first is None or second is None:
            left_out[person] = "not found in one of two photos"
        else:
            pairs[person] = first, second
    if len(pairs) < 2:
        raise ValueError(f"identity needs two people at least: {len(pairs)} of {count} were found in both photos")
    codes_by_photo = np.array(list(pairs.values()), np.float64).transpose(1, 0, 2)
    distance = pair_distances(codes_by_photo[0], codes_by_photo[1])
    return {
        "benchmark": "identity on LFW",
        "method": method.name,
        "people": count,
        "left_out": left_out,
        "summary": _summarise(codes_by_photo[0], distance),
        "samples": {person: float(distance[k, k]) for k, person in enumerate(pairs)},
    }


def _summarise(codes: Float[np.ndarray, "P K"], distance: Float[np.ndarray, "P P"]) -> dict[str, Any]:
    spread = codes.std(0)
    same, different = np.diag(distance), distance[~np.eye(len(distance), dtype=bool)]
    return {
        "spread_mean": float(spread.mean()),
        "spread_first_10": float(spread[:10].mean()),
        "spread_rms": float(np.sqrt((spread**2).mean())),
        "spread_per_component": spread,
        "distance_same_person": float(same.mean()),
        "distance_different_people": float(different.mean()),
        "verification_auc": area_under_roc(same, different),
    }


def pair_distances(first: Float[np.ndarray, "P K"], second: Float[np.ndarray, "P K"]) -> Float[np.ndarray, "P P"]:
    """Distance of everyone's first photo to everyone's second; the diagonal is of the same person."""
    return np.linalg.norm(first[:, None] - second[None], axis=-1)


def _identity(photos: Lfw, member: Member, method: Method) -> Float[np.ndarray, " K"] | None:
    image = photos.read(member)
    found = method.find(image)
    index = central_box(boxes_of(found), image.shape[:2])
    return None if index is None else found[index].prediction.identity


def central_box(boxes_px: Float[np.ndarray, "N 4"], size_hw: tuple[int, ...]) -> int | None:
    """Index of the box nearest to the middle of the photo, where LFW's person is; None where there is no box."""
    if not len(boxes_px):
        return None
    middle = (np.array([size_hw[1], size_hw[0]]) - 1) / 2
    centres = (boxes_px[:, :2] + boxes_px[:, 2:]) / 2
    return int(np.linalg.norm(centres - middle, axis=1).argmin())
