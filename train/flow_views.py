"""What a student sees of the frames that its teacher saw whole: a part, parts hidden by noise, moved, recoloured.

Where the student cannot see a point that the teacher could, the teacher's flow tells it what it should have guessed.
Crops: DDFlow (Liu et al., AAAI 2019, section 3). Noise in superpixels or rectangles of one frame: SelFlow (Liu et al.,
CVPR 2019, section 3.3). Geometry and colour: DistillFlow (Liu et al., TPAMI 2021), where a motion w of a picture moved
by A becomes ``A w(A^-1 p)``, the linear part of A applied to the vector.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

LEAST_CROP = 0.62  # of the side
NOISY_SEGMENTS = (8, 16)


class Lesson(NamedTuple):
    """Frames as the student sees them, and the teacher's flow of their pairs, N = P B as in `Pairs`; `known`: the
    teacher saw the pixel's point in both frames, and it has not left the student's picture; `segments`: superpixels of
    the frame that gets noise, or None."""

    frames: Float[Tensor, "B T 3 H W"]
    forward_px: Float[Tensor, "N 2 H W"]
    backward_px: Float[Tensor, "N 2 H W"]
    known_forward: Bool[Tensor, "N H W"]
    known_backward: Bool[Tensor, "N H W"]
    segments: Int[Tensor, "B H W"] | None = None


def crop(lesson: Lesson) -> Lesson:
    """The same random part of everything, of at least LEAST_CROP of the sides, in whole pixels."""
    height, width = lesson.frames.shape[-2:]
    share = LEAST_CROP + (1 - LEAST_CROP) * 0.6 * float(torch.rand(()))
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = int(torch.randint(height - rows + 1, ())), int(torch.randint(width - columns + 1, ()))
    part = (..., slice(top, top + rows), slice(left, left + columns))
    return lesson._replace(**{name: values[part] for name, values in lesson._asdict().items() if values is not None})


def superpixels(lesson: Lesson) -> Lesson:
    """Noise in some superpixels of the noisy frame. ValueError without segments."""
    segments = lesson.segments
    if segments is None:
        raise ValueError("superpixel noise needs the segments of the noisy frame in the batch")
    count = int(segments.max()) + 1
    chosen = torch.rand(len(segments), count, device=segments.device).argsort(dim=1) < _how_many()
    return _with_noise(lesson, chosen.gather(1, segments.flatten(1).long()).view(segments.shape))


def rectangles(lesson: Lesson) -> Lesson:
    """Noise in as many rectangles of the noisy frame, each of about a superpixel's area."""
    frames = lesson.frames
    height, width = frames.shape[-2:]
    count = _how_many()
    sides = (torch.rand(2, len(frames), count, device=frames.device) - 0.5).exp() * (height * width / 200) ** 0.5
    middle = torch.rand(2, len(frames), count, device=frames.device)
    inside = [
        ((torch.arange(size, device=frames.device) - size * middle[axis, ..., None]).abs() < sides[axis, ..., None] / 2)
        for axis, size in enumerate((height, width))
    ]
    return _with_noise(lesson, (inside[0][..., :, None] & inside[1][..., None, :]).any(dim=1))


def affine(lesson: Lesson) -> Lesson:
    """Turned up to 15 degrees, scaled 0.8 to 1.4, moved by up to a tenth of the side, half of them mirrored.

    All frames of a sequence alike."""
    frames, device = lesson.frames, lesson.frames.device
    batch, count = frames.shape[:2]
    angle = torch.deg2rad(30 * torch.rand(batch, device=device) - 15)
    scale = torch.exp(torch.empty(batch, device=device).uniform_(-0.22, 0.34))
    mirror = torch.where(torch.rand(batch, device=device) < 0.5, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([torch.stack([mirror * cos, -sin], -1), torch.stack([mirror * sin, cos], -1)], 1)
    shift = 0.1 * (2 * torch.rand(batch, 2, device=device) - 1)
    return _moved(lesson, linear, shift)


def colour(lesson: Lesson) -> Lesson:
    """Contrast, brightness, gamma and tint, the same for all frames of a sequence."""
    frames = lesson.frames
    shape = (len(frames), 1, 1, 1, 1)

    def random(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.empty((*shape[:2], channels, *shape[3:]), device=frames.device).uniform_(low, high)

    tinted = frames.clamp_min(1e-4) ** random(0.7, 1.4) * random(0.85, 1.15, 3)
    grey = tinted.mean(dim=(1, 2, 3, 4), keepdim=True)
    changed = (tinted - grey) * random(0.6, 1.4) + grey + random(-0.15, 0.15)
    return lesson._replace(frames=changed.clamp(0, 1))


VIEWS: dict[str, Callable[[Lesson], Lesson]] = {
    "crop": crop,
    "superpixels": superpixels,
    "rectangles": rectangles,
    "affine": affine,
    "colour": colour,
}


def noisy_frame(frames: int) -> int:
    """Which frame of a sequence gets noise: the second of the first pair of those that are learned from."""
    return 1 if frames == 2 else 2


def _how_many() -> int:
    return int(torch.randint(NOISY_SEGMENTS[0], NOISY_SEGMENTS[1] + 1, ()))


def _with_noise(lesson: Lesson, mask: Bool[Tensor, "B H W"]) -> Lesson:
    frames = lesson.frames.clone()
    at = noisy_frame(frames.shape[1])
    frames[:, at] = torch.where(mask[:, None], torch.rand_like(frames[:, at]), frames[:, at])
    return lesson._replace(frames=frames)


def _moved(lesson: Lesson, linear: Float[Tensor, "B 2 2"], shift: Float[Tensor, "B 2"]) -> Lesson:
    """Everything moved by ``p' = L p + s`` about the picture's middle; the shift is in sides of the picture."""
    frames = lesson.frames
    batch, count, _, height, width = frames.shape
    size = frames.new_tensor([width, height])
    back = torch.linalg.inv(linear)
    y, x = torch.meshgrid(
        *(torch.arange(n, device=frames.device) - (n - 1) / 2 for n in (height, width)), indexing="ij"
    )
    points = torch.stack([x, y], -1) - (shift * size)[:, None, None]
    source = (points @ back.transpose(1, 2)[:, None]) * 2 / size  # in [-1, 1] between the picture's outer edges
    pairs = len(lesson.forward_px) // batch
    per_pair, turn = source.repeat(pairs, 1, 1, 1), linear.repeat(pairs, 1, 1)
    inside = (per_pair.abs() < 1 - 1 / size).all(-1)

    def flow(values: Tensor) -> Tensor:
        sampled = functional.grid_sample(values, per_pair, align_corners=False)
        return torch.einsum("nij,njhw->nihw", turn, sampled)

    def known(mask: Tensor) -> Tensor:
        return inside & (functional.grid_sample(mask[:, None].float(), per_pair, align_corners=False)[:, 0] > 0.99)

    def nearest(numbers: Tensor) -> Tensor:
        read = functional.grid_sample(numbers[:, None].float(), source, "nearest", "border", align_corners=False)
        return read[:, 0].to(numbers.dtype)

    moved = functional.grid_sample(frames.flatten(1, 2), source, padding_mode="border", align_corners=False)
    return Lesson(
        moved.unflatten(1, (count, 3)),
        flow(lesson.forward_px),
        flow(lesson.backward_px),
        known(lesson.known_forward),
        known(lesson.known_backward),
        None if lesson.segments is None else nearest(lesson.segments),
    )
