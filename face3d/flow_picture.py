"""Flow as a picture: Middlebury's colour wheel (direction as hue, length as saturation), and maps of the error."""

from functools import cache

import numpy as np
from jaxtyping import Bool, Float, UInt8

from face3d.flow_files import known_flow

_WHEEL = (15, 6, 4, 11, 13, 6)  # steps red-yellow, yellow-green, green-cyan, cyan-blue, blue-magenta, magenta-red
_BOUNDS = (0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_COLOURS = ((49, 54, 149), (69, 117, 180), (116, 173, 209), (171, 217, 233), (224, 243, 248),
            (254, 224, 144), (253, 174, 97), (244, 109, 67), (215, 48, 39), (165, 0, 38))  # fmt: skip


@cache
def colour_wheel() -> UInt8[np.ndarray, "55 3"]:
    """The 55 hues by angle, starting at red (Baker et al., "A database and evaluation methodology", IJCV 2011)."""
    rows = []
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]])
    for start, end, steps in zip(corners[:-1], corners[1:], _WHEEL, strict=True):
        ramp = np.floor(255 * np.arange(steps) / steps)[:, None]
        change = end - start
        rows.append(255 * start + np.where(change > 0, ramp, -ramp) * (change != 0))
    wheel = np.concatenate(rows).astype(np.uint8)
    wheel.setflags(write=False)
    return wheel


def flow_picture(
    flow_px: Float[np.ndarray, "H W 2"],
    largest_px: float | None = None,
    valid: Bool[np.ndarray, "H W"] | None = None,
) -> UInt8[np.ndarray, "H W 3"]:
    """Colours of a flow: white stands still, full colour moves by `largest_px` (else the largest length there is).

    Longer flow is darkened; what is not valid, not finite or marked as unknown is black. To compare two flows give both
    the same `largest_px`. ValueError where it is not positive.
    """
    if largest_px is not None and not largest_px > 0:
        raise ValueError(f"largest_px is {largest_px}: expected a length above zero, or None for the flow's largest")
    flow, known = known_flow(flow_px)
    if valid is not None:
        flow, known = np.where(valid[..., None], flow, 0), known & valid
    length = np.linalg.norm(flow.astype(np.float64), axis=2)
    largest = float(length.max(initial=0)) if largest_px is None else largest_px
    radius = (length / max(largest, 1e-9))[..., None]
    hue = _hues(flow)
    colours = np.where(radius <= 1, 1 - radius * (1 - hue), 0.75 * hue)
    return np.where(known[..., None], np.floor(255 * colours + 1e-6), 0).astype(np.uint8)


def error_picture(
    error_px: Float[np.ndarray, "H W"], true_length_px: Float[np.ndarray, "H W"], valid: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """KITTI's map of the error: blue right, red wrong, in steps of two; black where not valid.

    The turn from blue to red is at 3 px or 5 % of the true length, whichever is larger: what is red counts in Fl or D1
    (Menze and Geiger, "Object scene flow for autonomous vehicles", CVPR 2015, and its development kit). An error that
    is not finite is the worst.
    """
    wrong = np.nan_to_num(np.asarray(error_px, np.float64), nan=np.inf, posinf=np.inf)
    relative = wrong / np.maximum(3.0, 0.05 * np.abs(np.where(valid, true_length_px, 0)))
    colours = np.array(_COLOURS, np.uint8)[np.searchsorted(_BOUNDS, relative, side="left")]
    return np.where(valid[..., None], colours, 0).astype(np.uint8)


def _hues(flow: np.ndarray) -> np.ndarray:
    """(H,W,3) in [0, 1]: the wheel's colour of each direction, interpolated."""
    wheel = colour_wheel() / 255.0
    angle = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi
    place = (angle + 1) / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[..., None]
    return (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
