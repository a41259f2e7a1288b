"""Frames redrawn with each other's skin: which pairs, and which part of the face counts."""

import pytest
import torch

from face3d.consistency import counted_triangles, swap_all
from face3d.morphable import MorphableModel
from tests.test_texture_swap import SIZE, posed


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.random(0, rows=30, columns=30)


def test_chosen_pairs_are_those_of_all(model: MorphableModel) -> None:
    frames = torch.rand(2, 3, 3, *SIZE)
    vertices = torch.stack([posed(model, yaw)[0].expand(2, -1, -1) for yaw in (0.0, 10.0, 20.0)], 1)
    every, chosen = (swap_all(frames, vertices, model.triangles, None, p) for p in (None, [(0, 2), (2, 1)]))
    for all_pairs, some in zip(every, chosen, strict=True):
        torch.testing.assert_close(some, torch.cat([all_pairs[2:4], all_pairs[10:12]]))


def test_one_frame_is_refused(model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        swap_all(torch.rand(1, 1, 3, *SIZE), posed(model, 0.0)[:, None], model.triangles)


def test_the_inner_mouth_is_not_compared() -> None:
    model = MorphableModel.load("face3d/assets/face3d_model.npz")
    counted = counted_triangles(model)
    names = model.region_names
    assert model.vertex_region is not None and 0.5 < float(counted.float().mean()) < 0.95
    regions = model.vertex_region.long()[model.triangles.long()]
    for name in ("inner_mouth", "ears", "neck"):
        assert not counted[(regions == names.index(name)).any(1)].any()
    assert counted[(regions == names.index("nose")).all(1)].all()
