"""Which losses see an identity: with exact poses all that compare pictures do; pairs and figures by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.clips import GeneratedClips
from eval.loss_signal import MOST_PAIRS, FrozenNetworks, _compared, chosen_pairs, score_signal
from face3d.checkpoint import asset_path
from face3d.crops import crop_around, transform_batch
from face3d.morphable import MorphableModel
from face3d.optical_flow import load_flow_network
from face3d.reconstruct import FaceEstimate, FaceNetworks


class Oracle(FaceNetworks):
    """Knows where the landmarks of each clip lie and what its expressions are; of the identity it knows half."""

    clips: GeneratedClips
    asked: int

    def forward(self, crops: Tensor) -> FaceEstimate:
        """The next clip."""
        truth = self.clips.clip(self.asked).truth
        self.asked += 1
        T = np.stack([crop_around(points, self.crop_factor, self.crop_size) for points in truth.landmarks_px])
        landmarks_px = torch.from_numpy(np.stack(transform_batch(T, torch.from_numpy(truth.landmarks_px)))).float()
        assert truth.vertices_mm is not None
        meshes = torch.from_numpy(truth.vertices_mm).float()
        whole = [self.model.project(mesh[None], 0.2) for mesh in meshes]
        identity, expression = (torch.cat(values).float() for values in zip(*whole, strict=True))
        return (
            super()
            .forward(crops)
            ._replace(
                landmarks_px=landmarks_px,
                landmarks_confidence=torch.full_like(landmarks_px[..., 0], 0.5),
                identity=identity / 2,
                expression=expression,
            )
        )


@pytest.fixture(scope="module")
def frozen() -> FrozenNetworks:
    network = load_flow_network(asset_path("flow.safetensors"))
    halves = torch.full((1, 2, 1, 1), 0.5)
    return FrozenNetworks(
        lambda frames: network(frames).forward_px, lambda crops: halves.expand(len(crops), 2, *crops.shape[-2:])
    )


def test_in_exact_poses_pictures_tell_who_it_is(frozen: FrozenNetworks) -> None:
    model = MorphableModel.load(asset_path("face3d_model.npz"))
    networks = Oracle.load(asset_path("reconstruct.safetensors"), model)
    networks.clips, networks.asked = GeneratedClips(model, people=3, frames=4), 0
    result = score_signal(networks.clips, networks, frozen)
    assert result["clips"] == 3 and list(result["summary"]) == [
        *("rgb", "census", "semantic", "flow", "residual_flow", "adjustment")
    ]
    for loss in ("census", "flow", "residual_flow"):
        for comparison in result["summary"][loss].values():
            assert comparison["share_of_clips"] == 1 and comparison["t"] < -1, (loss, comparison)
    adjusted = result["summary"]["adjustment"]["after_below_found"]
    assert adjusted["share_of_clips"] > 0.6 and adjusted["after_mm"] < 0.9 * adjusted["found_mm"]
    blind = result["summary"]["semantic"]["true_below_mean_face"]  # a parser that sees nothing
    assert blind["share_of_clips"] == 0 and abs(blind["t"]) < 1e-6


def test_pairs_are_turned_apart_and_not_too_many() -> None:
    assert chosen_pairs(np.array([0.0, 5.0, 9.9])) == []
    assert chosen_pairs(np.array([0.0, 5.0, 10.0])) == [(0, 2), (2, 0)]
    many = chosen_pairs(np.arange(8) * 20.0)
    assert len(set(many)) == MOST_PAIRS and len({i for i, _ in many}) > 4


def test_share_and_t_by_hand() -> None:
    values = [{"true": {"census": x}, "mean_face": {"census": 2.0}} for x in (1.0, 1.5, 2.5, 1.0)]
    found = _compared(values, "census", "true", "mean_face")
    difference = np.array([-1.0, -0.5, 0.5, -1.0])
    assert found["share_of_clips"] == 0.75
    assert found["t"] == pytest.approx(difference.mean() / (difference.std(ddof=1) / 2))


def test_clips_that_do_not_turn_are_refused(frozen: FrozenNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.loss_signal.LEAST_YAW_GAP_DEG", 170.0)
    model = MorphableModel.load(asset_path("face3d_model.npz"))
    networks = FaceNetworks.load(asset_path("reconstruct.safetensors"), model)
    with pytest.raises(ValueError, match="of 2 clips turn by 170.0 degrees: take more"):
        score_signal(GeneratedClips(model, people=2, frames=2), networks, frozen)


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "signal.json"
    result = CliRunner().invoke(commands.app, ["signal", "--people", "2", "--device", "cpu", "--json", str(out)])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["weights"] == {"file": "embedded"} and "residual_flow" in content["summary"]
    assert "residual_flow" in result.output.replace(" ", "_")
