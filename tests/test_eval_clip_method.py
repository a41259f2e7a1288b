"""face3d on the frames of a clip together: one identity, refined where the flow between them is asked."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from eval import __main__ as commands
from eval.clip_run import ClipMethod
from eval.clips import Clip, GeneratedClips
from eval.method_face3d import Face3d
from eval.method_face3d_clip import Face3dClip
from face3d.checkpoint import asset_path
from face3d.optical_flow import EMBEDDED, forward_flow, load_flow_network
from face3d.pipeline import Reconstructor


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor(device="cpu")


@pytest.fixture(scope="module")
def clip(reconstructor: Reconstructor) -> Clip:
    return GeneratedClips(reconstructor.model, people=1, frames=4).clip(0)


def test_frames_share_the_identity_that_they_are_most_sure_of(reconstructor: Reconstructor, clip: Clip) -> None:
    alone = [Face3d(reconstructor).predict(*each) for each in zip(clip.images, clip.boxes_px, strict=True)]
    method = Face3dClip(reconstructor)
    assert isinstance(method, ClipMethod) and method.name == "face3d, shared"
    together = method.predict_clip(clip.images, clip.boxes_px)
    identities = np.stack([each.identity for each in alone])
    for own, shared in zip(alone, together, strict=True):
        np.testing.assert_array_equal(shared.identity, together[0].identity)
        np.testing.assert_array_equal(shared.landmarks_px["pgn"], own.landmarks_px["pgn"])
        assert (shared.identity >= identities.min(0) - 1e-5).all() and (
            shared.identity <= identities.max(0) + 1e-5
        ).all()
        np.testing.assert_allclose(shared.vertices_mm - shared.neutral_mm, own.vertices_mm - own.neutral_mm, atol=1e-3)
    assert np.ptp(identities, axis=0).max() > 0.05


def test_refined_clips_are_refined(reconstructor: Reconstructor, clip: Clip) -> None:
    flow = forward_flow(load_flow_network(asset_path(EMBEDDED)), 6)
    shared = Face3dClip(reconstructor).predict_clip(clip.images, clip.boxes_px)
    method = Face3dClip(reconstructor, flow)
    refined = method.predict_clip(clip.images, clip.boxes_px)
    assert method.name == "face3d, refined"
    for before, after in zip(shared, refined, strict=True):
        assert 0.1 < np.linalg.norm(after.identity - before.identity) < 3
        assert not np.array_equal(after.vertices_mm - after.neutral_mm, before.vertices_mm - before.neutral_mm)
        np.testing.assert_array_equal(after.identity, refined[0].identity)


def invoke(*arguments: str | Path) -> str:
    given = ["clips-shape", "--people", "1", "--frames", "3", *map(str, arguments)]
    result = CliRunner().invoke(commands.app, given, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_command_takes_frames_together(tmp_path: Path) -> None:
    for together in ("shared", "refined"):
        assert f"face3d, {together}" in invoke("--data", tmp_path, "--together", together)
    with pytest.raises(ValueError, match="--together refined goes with --method face3d alone"):
        invoke("--data", tmp_path, "--together", "refined", "--method", "mean-face")
