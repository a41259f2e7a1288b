"""Who is who from frame to frame: boxes and landmarks alone, and what counts as a cut."""

import cv2
import numpy as np
import pytest

from face3d.tracking import Tracker, TrackingOptions, box_of, picture_change, shared, summarise
from tests.fake_networks import noise_photo


def face(x: float, y: float = 50.0, side: float = 20.0) -> np.ndarray:
    """68 landmarks about (x, y)."""
    unit = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 3))
    unit = unit / np.ptp(unit, axis=0)
    points: np.ndarray = side * (unit - (unit.max(axis=0) + unit.min(axis=0)) / 2) + np.array([x, y, 0.0])
    return points


def started(*places: float, **options: float) -> Tracker:
    tracker = Tracker(TrackingOptions(**options))  # type: ignore[arg-type]
    tracker.begin(0, False)
    assert tracker.wants_detection()
    assert tracker.admit([face(x) for x in places]) == list(range(len(places)))
    return tracker


def step(tracker: Tracker, frame: int, seen: dict[int, np.ndarray], is_cut: bool = False) -> list[int]:
    tracker.begin(frame, is_cut)
    return tracker.follow(seen)


def test_a_face_is_expected_at_constant_velocity() -> None:
    tracker = started(30.0)
    tracker.begin(1, False)
    np.testing.assert_allclose(tracker.expected()[0], face(30.0))
    assert tracker.follow({0: face(33.0)}) == [0]
    tracker.begin(2, False)
    np.testing.assert_allclose(tracker.expected()[0], face(36.0))


def test_detection_runs_every_few_frames_or_when_somebody_is_missing() -> None:
    tracker = started(30.0, 90.0, detect_every=4)
    wanted = []
    for frame in range(1, 12):
        seen = {0: face(30.0), 1: face(90.0)}
        if frame == 6:
            del seen[1]
        tracker.begin(frame, False)
        tracker.follow({t: p for t, p in seen.items() if t in tracker.expected()})
        wanted.append(tracker.wants_detection())
        if frame == 7:
            assert tracker.admit([face(91.0)]) == [1]
    #         1      2      3      4     5      6     7     8      9      10     11
    assert wanted == [False, False, False, True, False, True, True, False, False, False, True]


def test_an_empty_scene_is_searched_in_every_frame() -> None:
    tracker = Tracker(TrackingOptions())
    for frame in range(4):
        tracker.begin(frame, False)
        assert tracker.expected() == {} and tracker.follow({}) == [] and tracker.wants_detection()


def test_a_lost_face_is_found_near_its_place_as_the_same_track() -> None:
    tracker = started(30.0, 90.0)
    for frame in range(1, 8):
        assert step(tracker, frame, {0: face(30.0)}) == [0]
    assert tracker.admit([face(97.0), face(150.0)]) == [1, 2]


def test_lost_too_far_or_too_long_is_a_new_track() -> None:
    for found, frames in ((face(150.0), 3), (face(90.0, side=50.0), 3), (face(90.0), 12)):
        tracker = started(90.0, lost_for=10)
        for frame in range(1, frames + 1):
            step(tracker, frame, {})
        assert tracker.admit([found]) == [1]
    tracker = started(90.0, lost_for=10)
    for frame in range(1, 11):
        step(tracker, frame, {})
    assert tracker.admit([face(90.0)]) == [0]


def test_a_face_that_was_going_somewhere_is_found_there() -> None:
    for x, track in ((90.0, 0), (60.0, 0), (10.0, 1)):
        tracker = started(30.0)
        step(tracker, 1, {0: face(36.0)})
        for frame in range(2, 12):
            step(tracker, frame, {})
        assert tracker.admit([face(x)]) == [track]


def test_the_nearer_of_two_lost_faces_is_found() -> None:
    tracker = started(30.0, 60.0)
    step(tracker, 1, {})
    step(tracker, 2, {})
    assert tracker.admit([face(52.0), face(34.0)]) == [1, 0]


def test_detections_on_faces_in_sight_are_not_new() -> None:
    tracker = started(30.0)
    boxes = np.array([box_of(face(31.0)), box_of(face(30.0, side=60.0)), box_of(face(60.0))])
    assert tracker.is_new(boxes).tolist() == [False, False, True]
    assert tracker.admit([face(32.0), face(60.0), face(61.0)]) == [None, 1, None]


def test_of_two_that_run_into_one_face_the_intruder_is_lost() -> None:
    """Track 1 was going left, past track 0, and its landmarks now lie on track 0's face."""
    tracker = started(50.0, 80.0)
    assert step(tracker, 1, {0: face(50.0), 1: face(72.0)}) == [0, 1]
    assert step(tracker, 2, {0: face(50.5), 1: face(51.0)}) == [0]
    assert tracker.wants_detection()
    step(tracker, 3, {0: face(50.0)})
    assert tracker.admit([face(78.0)]) == [1]


def test_two_people_pass_each_other() -> None:
    tracker = Tracker(TrackingOptions())
    tracker.begin(0, False)
    tracker.admit([face(30.0, 30.0), face(130.0, 80.0)])
    for frame in range(1, 26):
        seen = {0: face(30.0 + 4 * frame, 30.0), 1: face(130.0 - 4 * frame, 80.0)}
        assert step(tracker, frame, seen) == [0, 1]


def test_a_cut_ends_all_tracks() -> None:
    tracker = started(30.0)
    tracker.begin(1, True)
    assert tracker.expected() == {} and tracker.wants_detection()
    assert tracker.admit([face(30.0)]) == [1]


def test_shared_area() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 5, 7, 7], [5, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(shared(boxes[0], boxes), [1, 1, 0.5, 0])
    assert shared(boxes[0], boxes[:0]).shape == (0,)


def test_what_counts_as_a_cut(rng: np.random.Generator) -> None:
    least = TrackingOptions().cut
    scene = cv2.resize(noise_photo(6, 8), (160, 120), interpolation=cv2.INTER_CUBIC)
    moved = np.roll(scene, 4, axis=1)
    grainy = (scene + rng.normal(0, 6, scene.shape)).clip(0, 255).astype(np.uint8)
    darker = (scene * 0.93).astype(np.uint8)
    before = summarise(scene)
    assert picture_change(before, before) == 0
    for same in (moved, grainy, darker):
        assert picture_change(before, summarise(same)) < least
    other = cv2.resize(noise_photo(6, 8, seed=5) // 2, (160, 120), interpolation=cv2.INTER_CUBIC)
    for cut in (other, np.zeros_like(scene)):
        assert picture_change(before, summarise(cut)) > least


@pytest.mark.parametrize(
    "wrong", [{"detect_every": 0}, {"lost_for": -1}, {"least_frames": 0}, {"most_overlap": 0.0}, {"cut": 0.0}]
)
def test_options_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        TrackingOptions(**wrong)  # type: ignore[arg-type]
