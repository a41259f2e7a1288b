"""eval.protocol and eval.boxes: the loop, matching, what is left out."""

import numpy as np

from eval.boxes import match_all, match_box, overlap
from eval.protocol import Found, Prediction, Record, Sample, run

BOX = np.array([10.0, 10.0, 50.0, 50.0])


class OneFace:
    name = "one face"

    def samples(self) -> list[Sample]:
        return [Sample("a", np.zeros((60, 60, 3), np.uint8), BOX, 7.0)]

    def score(self, sample: Sample, prediction: Prediction) -> dict[str, float]:
        return {"error": float(prediction.landmarks_px["x"][0, 0] - sample.truth)}

    def summarise(self, records: list[Record]) -> dict[str, float]:
        return {"count": len(records)}


class Fake:
    name = "fake"

    def __init__(self, boxes: np.ndarray, value: float = 7.0) -> None:
        self.boxes, self.value = boxes, value
        self.seen: list[np.ndarray] = []

    def predict(self, image: np.ndarray, box_px: np.ndarray) -> Prediction:
        self.seen.append(box_px)
        return Prediction({"x": np.full((68, 2), self.value)})

    def find(self, image: np.ndarray) -> list[Found]:
        return [Found(box, Prediction({"x": np.full((68, 2), self.value + box[0] - BOX[0])})) for box in self.boxes]


def test_the_true_box_is_given_or_the_face_is_found() -> None:
    near = BOX + np.array([2.0, 0.0, 2.0, 0.0])
    method = Fake(np.stack([BOX + 300.0, near]))
    assert run(OneFace(), method).records[0].scores == {"error": 0.0}
    assert run(OneFace(), method, "detector").records[0].scores == {"error": 2.0}  # of the face found nearest
    np.testing.assert_array_equal(method.seen, [BOX])


def test_a_face_that_is_not_found_is_left_out_and_counted() -> None:
    result = run(OneFace(), Fake(np.zeros((0, 4))), "detector")
    assert result.summary == {"count": 0}
    assert result.records[0].problem == "not found by the detector"


def test_landmarks_that_are_not_finite_are_left_out() -> None:
    assert "not finite: x" in str(run(OneFace(), Fake(BOX[None], np.nan)).records[0].problem)


def test_overlap_by_hand() -> None:
    other = np.array([[10.0, 10.0, 50.0, 30.0], [50.0, 50.0, 60.0, 60.0], [30.0, 10.0, 70.0, 50.0]])
    np.testing.assert_allclose(overlap(BOX[None], other), [[0.5, 0.0, 1 / 3]])


def test_match_box_takes_the_best_or_none() -> None:
    assert match_box(np.zeros((0, 4)), BOX) is None
    assert match_box((BOX + 30.0)[None], BOX) is None
    assert match_box(np.stack([BOX + 5.0, BOX + 1.0]), BOX) == 1


def test_match_all_is_one_to_one() -> None:
    pairs = match_all(np.stack([BOX + 1.0, BOX, BOX + 200.0]), np.stack([BOX + 200.0, BOX]))
    assert [pair[:2] for pair in pairs] == [(1, 1), (2, 0)] or [pair[:2] for pair in pairs] == [(2, 0), (1, 1)]
    assert match_all(np.zeros((0, 4)), BOX[None]) == []
