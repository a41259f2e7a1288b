"""What students see: crops, noise, moved and recoloured pictures, and the teacher's flow that goes with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from face3d.networks.flow import Flows
from face3d.warping import warp_by_flow
from train.flow_pairs import STEREO_PAIRS, Pairs, between, estimate
from train.flow_views import VIEWS, Lesson, affine, colour, crop, rectangles, superpixels


class Count(torch.nn.Module):
    """A network of three frames whose flow tells which frames it saw: forward = value of the middle frame * 10 + that
    of the next, backward = middle * 10 + previous."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, images: Tensor) -> Flows:
        values = images[:, :, :2]
        own, other = (values[:, 0], values[:, 1]) if self.frames == 2 else (values[:, 1], values[:, 2])
        back = (values[:, 1], values[:, 0])
        full = (10 * own + other, 10 * back[0] + back[1])
        return Flows(*full, *(flow[..., ::4, ::4] for flow in full))


def numbered(frames: int, batch: int = 2) -> Tensor:
    """Frame t of every sequence has the value t."""
    return torch.arange(frames).float().view(1, -1, 1, 1, 1).expand(batch, -1, 3, 8, 8)


@pytest.mark.parametrize(("of_network", "frames"), [(2, 2), (2, 5), (3, 5)])
def test_flow_of_a_pair_is_between_its_frames(of_network: int, frames: int) -> None:
    pairs = estimate(Count(of_network), of_network, numbered(frames), False)
    for at, (one, other) in enumerate(between(frames)):
        rows = slice(2 * at, 2 * at + 2)
        assert (pairs.first[rows] == one).all() and (pairs.second[rows] == other).all()
        assert (pairs.forward_px[rows] == 10 * one + other).all()
        assert (pairs.backward_px[rows] == 10 * other + one).all()
        assert (pairs.quarter_forward_px[rows] == 10 * one + other).all()
        assert (pairs.quarter_backward_px[rows] == 10 * other + one).all()


def test_stereo_pairs() -> None:
    pairs = estimate(Count(2), 2, numbered(4), stereo=True)
    found = [tuple(divmod(int(value), 10)) for value in pairs.forward_px[::2, 0, 0, 0]]
    assert tuple(found) == STEREO_PAIRS


def test_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="sequences of 3 frames; expected 2, 5"):
        between(3)
    with pytest.raises(ValueError, match="learns from sequences of five, got 2"):
        estimate(Count(3), 3, numbered(2))


def lesson(frames: int = 2, batch: int = 3, size: int = 48) -> Lesson:
    """Smooth pictures that move by an affine flow, known but in a corner; the second is made from the first."""
    torch.manual_seed(0)
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, size),) * 2, indexing="ij")
    picture = torch.stack([0.5 + 0.4 * torch.sin(3 * x + 2 * y + phase) for phase in torch.rand(batch) * 6])
    second = picture[:, None].expand(-1, 3, -1, -1)
    forward = torch.stack([2 + 1.5 * x - y, -1 + x + 0.5 * y]).expand(batch, -1, -1, -1)
    first = warp_by_flow(second, forward).values
    known = torch.ones(batch, size, size, dtype=torch.bool)
    known[:, :6, :6] = False
    return Lesson(torch.stack([first, second], 1), forward, -forward, known, known)


def test_crop_cuts_everything_alike() -> None:
    plain = lesson()
    marked = plain._replace(forward_px=plain.frames[:, 0, :2], known_forward=plain.frames[:, 0, 0] > 0.5)
    cut = crop(marked)
    assert cut.frames.shape[-1] < 48
    torch.testing.assert_close(cut.forward_px, cut.frames[:, 0, :2])
    assert torch.equal(cut.known_forward, cut.frames[:, 0, 0] > 0.5)


def test_moved_flow_still_matches_the_moved_pictures() -> None:
    """The property that makes it a lesson: the moved second frame, warped by the moved flow, is the moved first."""
    plain = lesson()
    for seed in range(4):
        torch.manual_seed(seed)
        moved = affine(plain)
        warped = warp_by_flow(moved.frames[:, 1], moved.forward_px)
        known = moved.known_forward & warped.inside
        known[..., :4, :] = known[..., -4:, :] = known[..., :4] = known[..., -4:] = False
        difference = (warped.values - moved.frames[:, 0]).abs().amax(1)[known]
        assert known.float().mean() > 0.3 and difference.quantile(0.95) < 0.03


@pytest.mark.parametrize("view", [crop, affine])
def test_superpixels_move_with_their_frame(view: Callable[[Lesson], Lesson]) -> None:
    plain = lesson()
    segments = (plain.frames[:, 1, 0] * 8).short()
    torch.manual_seed(0)
    moved = view(plain._replace(segments=segments))
    assert moved.segments is not None and moved.segments.dtype == torch.int16
    right = (moved.segments - moved.frames[:, 1, 0] * 8 + 0.5).abs() < 0.75
    assert right.float().mean() > 0.97


def test_affine_forgets_what_left_the_picture() -> None:
    torch.manual_seed(1)
    assert affine(lesson()).known_forward.float().mean() < lesson().known_forward.float().mean()


@pytest.mark.parametrize("name", ["superpixels", "rectangles"])
@pytest.mark.parametrize(("frames", "noisy"), [(2, 1), (5, 2)])
def test_noise_is_in_one_frame_only(name: str, frames: int, noisy: int) -> None:
    plain = Lesson(torch.full((3, frames, 3, 48, 48), 0.5), *lesson()[1:5])
    segments = (torch.arange(48)[:, None] // 4 * 12 + torch.arange(48) // 4).expand(3, -1, -1)
    changed = (VIEWS[name](plain._replace(segments=segments)).frames != 0.5).any(2).float().mean((2, 3))
    assert not changed[:, [at for at in range(frames) if at != noisy]].any()
    assert (changed[:, noisy] > 0.02).all() and (changed[:, noisy] < 0.4).all()


def test_superpixel_noise_fills_whole_segments() -> None:
    plain = Lesson(torch.full((1, 2, 3, 48, 48), 0.5), *lesson(batch=1)[1:5])
    segments = (torch.arange(48)[:, None] // 8 * 6 + torch.arange(48) // 8)[None]
    noisy = (superpixels(plain._replace(segments=segments)).frames[0, 1] != 0.5).any(0)
    share = torch.stack([noisy[segments[0] == at].float().mean() for at in range(36)])
    assert ((share < 0.01) | (share > 0.99)).all() and 8 <= int((share > 0.5).sum()) <= 16


def test_superpixels_need_segments() -> None:
    with pytest.raises(ValueError, match="needs the segments"):
        superpixels(lesson())


def test_rectangles_differ_between_samples() -> None:
    noisy = rectangles(lesson()).frames[:, 1] != lesson().frames[:, 1]
    assert (noisy[0] != noisy[1]).any()


def test_colour_is_the_same_for_all_frames() -> None:
    torch.manual_seed(0)
    frames = lesson().frames
    same = lesson()._replace(frames=torch.stack([frames[:, 0], frames[:, 0]], 1))
    changed = colour(same).frames
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    assert (changed[:, 0] - frames[:, 0]).abs().mean() > 0.02
    assert changed.min() >= 0 and changed.max() <= 1


def test_pairs_have_the_fields_of_flows() -> None:
    assert Pairs._fields[2:] == ("forward_px", "backward_px", "quarter_forward_px", "quarter_backward_px")
