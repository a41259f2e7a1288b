"""face3d.metrics: values by hand, invariances, degenerate input."""

import numpy as np
import pytest

from face3d import metrics


def square_face(side: float = 100.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, side, (68, 3))
    points[0, :2], points[1, :2] = 0.0, side
    return points


def test_nme_of_a_known_shift_is_exact() -> None:
    truth = square_face()
    moved = truth + np.array([3.0, 4.0, 1000.0])
    assert metrics.nme_percent(moved, truth) == pytest.approx(5.0)
    assert metrics.nme_percent(moved[:, :2], truth) == pytest.approx(5.0)


def test_nme_is_invariant_to_scale_and_batched() -> None:
    truth = square_face()
    moved = truth + 2.0
    both = metrics.nme_percent(np.stack([moved, 7 * moved]), np.stack([truth, 7 * truth]))
    assert both.shape == (2,)
    assert both[0] == pytest.approx(both[1])


def test_nme_of_an_empty_box_is_refused() -> None:
    with pytest.raises(ValueError, match="span no area"):
        metrics.nme_percent(square_face(), np.zeros((68, 2)))


def test_mean_by_yaw_edges_belong_to_the_lower_bin() -> None:
    bins = metrics.mean_by_yaw(np.array([1.0, 3.0, 5.0, 9.0]), np.array([-30.0, 30.1, -60.0, 102.0]))
    assert bins.counts == (1, 2, 1)
    assert (bins.upto_30, bins.upto_60, bins.above_60) == (1.0, 4.0, 9.0)
    assert bins.of_bins == pytest.approx(14 / 3)
    assert bins.of_samples == pytest.approx(4.5)


def test_mean_by_yaw_skips_empty_bins() -> None:
    bins = metrics.mean_by_yaw(np.array([2.0]), np.array([10.0]))
    assert np.isnan(bins.above_60)
    assert bins.of_bins == 2.0


def test_cumulative_error() -> None:
    curve = metrics.cumulative_error(np.array([3.0, 1.0, 2.0]), np.array([0.5, 1.0, 2.5, 9.0]))
    np.testing.assert_allclose(curve, [0, 1 / 3, 2 / 3, 1])


def test_angle_error_wraps() -> None:
    error = metrics.angle_error_deg(np.array([179.0, -10.0, 360.0]), np.array([-179.0, 10.0, 0.0]))
    np.testing.assert_allclose(error, [2.0, 20.0, 0.0])


def test_area_under_roc() -> None:
    assert metrics.area_under_roc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert metrics.area_under_roc(np.array([1.0]), np.array([1.0])) == 0.5
    with pytest.raises(ValueError, match="two samples"):
        metrics.area_under_roc(np.array([]), np.array([1.0]))


def test_published_comparison_of_label_sets(data_dir) -> None:
    """Re-annotated labels scored against the original ones, all 2000: 2.81 / 3.23 / 4.10, mean 3.38; 3.447 split."""
    labels = data_dir / "aflw2000" / "labels"
    original = np.load(labels / "AFLW2000-3D.pts68.npy").transpose(0, 2, 1)
    again = np.load(labels / "AFLW2000-3D-Reannotated.pts68.npy").transpose(0, 2, 1)
    error = metrics.nme_percent(again, original)
    bins = metrics.mean_by_yaw(error, np.load(labels / "AFLW2000-3D.pose.npy"))
    assert np.round([bins.upto_30, bins.upto_60, bins.above_60, bins.of_bins], 2).tolist() == [2.81, 3.23, 4.1, 3.38]
    papers = metrics.mean_by_yaw(error, np.load(labels / "AFLW2000-3D-new.pose.npy"))
    assert papers.of_bins == pytest.approx(3.447, abs=5e-4)
