"""The pictures of stage multi: what each of them shows of a pair of frames."""

import numpy as np
import torch
from torch import Tensor

from face3d.consistency import SwappedPairs
from face3d.flow_picture import colour_wheel
from face3d.parse_labels import CLASS_COLOURS
from train.people_panel import FULL_COLOUR_PX, people_panel

SIDE, COUNT = 32, 3
TRIANGLES = torch.tensor([[0, 1, 2]])


def pairs_of(mask: Tensor) -> SwappedPairs:
    generator = torch.Generator().manual_seed(0)
    frame, swapped = torch.rand(2, COUNT, 3, SIDE, SIDE, generator=generator)
    return SwappedPairs(frame, swapped, mask, torch.zeros(COUNT, SIDE, SIDE))


def columns_of(picture: np.ndarray) -> list[np.ndarray]:
    """(N,H,W,3) of each column."""
    assert picture.dtype == np.uint8 and picture.shape[0] == COUNT * SIDE and picture.shape[1] % SIDE == 0
    return [column.reshape(COUNT, SIDE, SIDE, 3) for column in np.split(picture, picture.shape[1] // SIDE, 1)]


def vertices_px() -> Tensor:
    """A triangle in the upper left, depth 0."""
    return torch.tensor([[2.0, 2, 0], [2, 14, 0], [14, 2, 0]]).expand(COUNT, -1, -1)


def test_photo_mesh_redrawn_mask_and_census() -> None:
    mask = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.bool)
    mask[1, 8:20, 8:20] = True
    pairs = pairs_of(mask)
    photo, mesh, redrawn, shared, census = columns_of(people_panel(pairs, vertices_px(), TRIANGLES))
    for picture, values in ((photo, pairs.frame), (redrawn, pairs.swapped)):
        np.testing.assert_allclose(picture, 255 * values.permute(0, 2, 3, 1).numpy(), atol=0.51)
    changed = (mesh != photo).any(-1)
    assert changed[:, 4:7, 4:7].mean() > 0.9 and not changed[:, 16:].any() and not changed[:, :, 16:].any()
    np.testing.assert_array_equal(shared[..., 0] == 255, mask.numpy())
    assert set(np.unique(shared)) == {0, 255}
    assert not shared[0].any() and not census[0].any()  # nothing is shared there
    assert not census[~mask.numpy()].any() and census[1, 8:20, 8:20].mean() > 30
    same = pairs._replace(swapped=pairs.frame)
    assert not columns_of(people_panel(same, vertices_px(), TRIANGLES))[4].any()


def test_flow_is_shown_in_the_mask_and_classes_in_their_colours() -> None:
    mask = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.bool)
    mask[:, 4:12] = True
    pairs = pairs_of(mask)

    def flow(two: Tensor) -> Tensor:
        torch.testing.assert_close(two[:, 1], torch.where(mask[:, None], pairs.swapped, pairs.frame))
        found = torch.zeros(COUNT, 2, SIDE, SIDE)
        found[1, 0] = FULL_COLOUR_PX
        return found

    def parser(pictures: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3))[:, None, None, None] * torch.eye(9)[4].view(1, 9, 1, 1).expand(
            COUNT, -1, SIDE, SIDE
        )

    *_, motion, parsed, parsed_again = columns_of(people_panel(pairs, vertices_px(), TRIANGLES, flow, parser))
    assert (motion[0, 4:12] == 255).all() and not motion[:, 12:].any()  # at rest; nothing is shared below
    assert np.abs(motion[1, 4:12] - colour_wheel()[0].astype(float)).max() <= 2
    for picture in (parsed, parsed_again):
        assert (picture == CLASS_COLOURS[4]).all()
    assert len(columns_of(people_panel(pairs, vertices_px(), TRIANGLES, None, parser))) == 7


def test_what_is_not_finite_is_black() -> None:
    pairs = pairs_of(torch.ones(COUNT, SIDE, SIDE, dtype=torch.bool))
    pairs.swapped[0] = torch.nan
    pairs.swapped[1] = torch.inf
    picture = people_panel(pairs, vertices_px(), TRIANGLES, lambda two: torch.full((COUNT, 2, SIDE, SIDE), torch.nan))
    _, _, redrawn, _, census, motion = columns_of(picture)
    assert not redrawn[:2].any() and not census[0].any() and not motion.any() and redrawn[2].any()
