"""Refinement asked for with a video: what it changes, what it reports, and the command's option."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from face3d import cli_video, video
from face3d.cli import app
from face3d.face_track import Refinement, Sighting
from face3d.flow_adjustment import Flow
from face3d.keyframes import MOST, Keyframe
from face3d.morphable import MorphableModel
from face3d.video import reconstruct_video
from tests.fake_video import film, seeing_reconstructor, write_film

COUNT = 12
STILL = [(50.0, 60.0)] * COUNT
TWO = [STILL, [(120.0, 60.0)] * COUNT]


def better(
    sightings: Sequence[Sighting], keyframes: Sequence[Keyframe], model: MorphableModel, flow: Flow
) -> tuple[list[Sighting], Refinement]:
    """In place of a refinement: every coefficient one more."""
    assert len(keyframes) == MOST and model.identity_count == len(sightings[0].identity)
    assert flow(torch.zeros(2, 2, 3, 64, 64)).shape == (2, 2, 64, 64)
    moved = [face._replace(identity=face.identity + 1, expression=face.expression + 1) for face in sightings]
    return moved, Refinement(True, "better", (0, 1), 0.5, 0.25)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "refine_sightings", better)


def test_a_head_that_never_turns_is_left_alone() -> None:
    plain = reconstruct_video(film([STILL]), seeing_reconstructor())
    (refined,) = reconstruct_video(film([STILL]), seeing_reconstructor(), refine=True).tracks
    assert plain.tracks[0].refinement is None
    assert refined.refinement is not None and not refined.refinement.kept
    assert "the head turns by" in refined.refinement.reason and len(refined.refinement.frames) == MOST
    for name in ("identity", "expression", "rotation", "scale", "translation_px", "landmarks_px"):
        np.testing.assert_array_equal(getattr(refined, name), getattr(plain.tracks[0], name))


def test_a_single_frame_is_left_alone() -> None:
    (track,) = reconstruct_video(film([STILL])[:1], seeing_reconstructor(), refine=True).tracks
    assert track.refinement is not None and "a single frame" in track.refinement.reason


@pytest.mark.usefixtures("stand_in")
def test_every_track_is_refined_and_counted() -> None:
    plain = reconstruct_video(film(TWO), seeing_reconstructor())
    done: list[tuple[int, int]] = []
    refined = reconstruct_video(
        film(TWO), seeing_reconstructor(), refine=True, refining=lambda tracks, of: done.append((tracks, of))
    )
    assert done == [(1, 2), (2, 2)]
    for before, after in zip(plain.tracks, refined.tracks, strict=True):
        assert after.refinement is not None and after.refinement.kept
        np.testing.assert_allclose(after.identity, before.identity + 1, atol=1e-5)
        np.testing.assert_allclose(after.expression, before.expression + 1, atol=1e-4)
        np.testing.assert_array_equal(after.landmarks_px, before.landmarks_px)


@pytest.mark.parametrize(
    ("stubbed", "told"),
    [(True, "track 0: refined: better (flow 0.50 -> 0.25 px)"), (False, "track 0: not refined: the head turns by")],
)
def test_the_command_says_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubbed: bool, told: str
) -> None:
    monkeypatch.setattr(cli_video, "_load", lambda *arguments: seeing_reconstructor())
    if stubbed:
        monkeypatch.setattr(video, "refine_sightings", better)
    write_film(str(tmp_path / "film.avi"), film([STILL]))
    arguments = ["video", str(tmp_path / "film.avi"), "-o", str(tmp_path / "out"), "--no-overlay"]
    plain, refined = CliRunner().invoke(app, arguments), CliRunner().invoke(app, [*arguments, "--refine"])
    assert plain.exit_code == refined.exit_code == 0, refined.output
    assert told in refined.output and "refined" not in plain.output
