"""How labelled points are tied to the average person, and what the fits are pulled to."""

from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.checkpoint import asset_path
from face3d.morphable import MorphableModel
from train import mediapipe_tie
from train.fit import fit_points, place
from train.mediapipe_tie import FITTED, SHUT, USUAL, Tie, neutral_faces, settle, shut, skin_triangles, tied_basis
from train.photos import BLINK_STD, expression_std, population_centre

SIGMA_MM = 5.0


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return MorphableModel.load(asset_path("face3d_model.npz"))


@pytest.fixture(scope="module")
def centre(model: MorphableModel) -> torch.Tensor:
    """An average person who is not the model's mean."""
    rng = np.random.default_rng(3)
    identity = torch.from_numpy(0.4 * rng.standard_normal(model.identity_count)).float()
    return torch.cat([identity, torch.zeros(model.expression_count)])


@pytest.fixture(scope="module")
def true_tie(model: MorphableModel) -> Tie:
    """A place on the skin for each point, spread over the front of the face."""
    arrays = model.arrays()
    triangles = arrays.triangles[skin_triangles(arrays)]
    middles = arrays.mean[triangles].mean(1)
    front = np.flatnonzero((middles[:, 2] > 20) & (np.abs(middles[:, 1]) < 70))
    chosen = front[np.random.default_rng(0).choice(len(front), len(FITTED), replace=False)]
    return Tie(FITTED, triangles[chosen], np.full((len(FITTED), 3), 1 / 3))


@pytest.fixture(scope="module")
def labels(model: MorphableModel, centre: torch.Tensor, true_tie: Tie) -> np.ndarray:
    """Points (N,478,3) px of neutral people around the average, who face the camera."""
    rng = np.random.default_rng(1)
    count, identities = 40, model.identity_count
    identity = centre[:identities] + torch.from_numpy(0.5 * rng.standard_normal((count, identities))).float()
    basis = tied_basis(model, true_tie)
    points = basis.mean + torch.einsum("bk,kpc->bpc", identity, basis.identity)
    found = np.zeros((count, 478, 3))
    found[:, FITTED] = points.numpy() * [2.0, -2.0, -2.0] + [200.0, 200.0, 0.0]
    return found


def moved(model: MorphableModel, centre: torch.Tensor, tied: Tie, each_its_way: bool = False) -> Tie:
    """The points some millimetres aside on the average person's skin: the cheeks' all up, or each another way."""
    average = model.vertices(centre[None, : model.identity_count])[0].double().numpy()
    places = (average[tied.vertices] * tied.barycentric[..., None]).sum(1)
    up = [0.0, 4.0, 0.0] * (np.abs(places[:, :1]) > 25)
    aside = np.random.default_rng(2).normal(0, 3.0, places.shape) if each_its_way else up
    return mediapipe_tie._on_skin(model.arrays(), average, places + aside)


def places_mm(model: MorphableModel, tied: Tie) -> np.ndarray:
    return tied_basis(model, tied).mean.numpy()


def test_points_settle_where_they_belong(
    model: MorphableModel, centre: torch.Tensor, true_tie: Tie, labels: np.ndarray
) -> None:
    wrong = moved(model, centre, true_tie, each_its_way=True)
    settled = settle(model, wrong, centre, labels, SIGMA_MM)
    before, after = (
        np.linalg.norm(places_mm(model, tied) - places_mm(model, true_tie), axis=1).mean() for tied in (wrong, settled)
    )
    assert before > 1.5 and after < 0.5 * before


def test_settled_points_leave_faces_without_expression(
    model: MorphableModel, centre: torch.Tensor, true_tie: Tie, labels: np.ndarray
) -> None:
    """Neutral people: a tie that is off shows as an expression that all of them have."""
    wrong = moved(model, centre, true_tie)
    strength = []
    for tied in (wrong, settle(model, wrong, centre, labels, SIGMA_MM), true_tie):
        goal = torch.from_numpy(labels[:, tied.points, :2]).float()
        fit = fit_points(tied_basis(model, tied), model.expression_std, goal, SIGMA_MM, centre=centre)
        strength.append(float(fit.expression.mean(0).norm()))
    assert strength[1] < 0.6 * strength[0] and strength[2] < 0.2 * strength[0]


def test_neutral_faces_neither_smile_nor_speak(
    model: MorphableModel, centre: torch.Tensor, true_tie: Tie, labels: np.ndarray
) -> None:
    """People who smile the more, the higher their number, and every third of whom opens the mouth."""
    names, basis = model.expression_names, tied_basis(model, true_tie)
    assert names is not None
    expression = torch.zeros(len(labels), model.expression_count)
    for side in ("Left", "Right"):
        expression[:, names.index(f"mouthSmile{side}")] = torch.linspace(-0.2, 0.8, len(labels))
    expression[::3, names.index("jawOpen")] = 0.5
    offsets = torch.einsum("be,epc->bpc", expression, basis.expression).numpy()
    smiling = labels.copy()
    smiling[:, FITTED] += offsets * [2.0, -2.0, -2.0]
    smiling[:, 0, 2] = np.arange(len(labels))  # the depth is not looked at: it carries the number
    chosen = neutral_faces(model, true_tie, centre, smiling, SIGMA_MM)[:, 0, 2]
    assert 4 <= len(chosen) < 15 and chosen.max() < 20
    assert (chosen % 3 == 0).mean() < 0.2


def test_lids_of_shut_eyes_meet() -> None:
    """Labels leave a gap between lids that touch: it goes, a usual one stays, and nothing but upper lids moves."""
    faces = np.random.default_rng(0).normal(0, 60.0, (3, 478, 3))
    size = np.sqrt(faces.var(axis=1).sum(-1))
    upper, lower = (points[mediapipe_tie.EYES[0]] for points in (mediapipe_tie.UPPER, mediapipe_tie.LOWER))
    for face, gap in zip(range(3), (0.8 * SHUT, USUAL, 2 * SHUT), strict=True):
        faces[face, upper] = faces[face, lower] + [0.0, -gap * size[face], 0.0]
    size = np.sqrt(faces.var(axis=1).sum(-1))
    closer = shut(faces)
    gap = np.linalg.norm(closer[:, upper] - closer[:, lower], axis=-1).mean(1) / size
    np.testing.assert_allclose(gap[0], 0.0, atol=1e-9)
    np.testing.assert_allclose(gap[1], USUAL, rtol=0.05)
    assert SHUT < gap[2] < 2 * SHUT
    others = np.setdiff1d(np.arange(478), mediapipe_tie.UPPER[:10])
    np.testing.assert_array_equal(closer[:, others], faces[:, others])


def test_faces_without_a_label_stay_so() -> None:
    assert np.isnan(shut(np.full((1, 478, 3), np.nan))).all()


def test_a_blink_is_cheaper_than_looking_down(model: MorphableModel) -> None:
    assert model.expression_names is not None
    std = dict(zip(model.expression_names, expression_std(model).tolist(), strict=True))
    assert std["eyeBlinkLeft"] == std["eyeBlinkRight"] == BLINK_STD > 2 * std["eyeLookDownLeft"]
    assert torch.equal(expression_std(MorphableModel.random(0)), MorphableModel.random(0).expression_std)


def test_faces_cannot_be_neutral_without_names(centre: torch.Tensor, true_tie: Tie, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected ARKit's names"):
        neutral_faces(MorphableModel.random(0), true_tie, centre, labels, SIGMA_MM)


def test_a_right_tie_stays(model: MorphableModel, centre: torch.Tensor, true_tie: Tie, labels: np.ndarray) -> None:
    settled = settle(model, true_tie, centre, labels, SIGMA_MM)
    shift = np.linalg.norm(places_mm(model, settled) - places_mm(model, true_tie), axis=1)
    assert shift.mean() < 0.4


def test_fitted_points_are_placed_in_the_image(
    model: MorphableModel, centre: torch.Tensor, true_tie: Tie, labels: np.ndarray
) -> None:
    basis = tied_basis(model, true_tie)
    goal = torch.from_numpy(labels[:4, FITTED, :2]).float()
    fit = fit_points(basis, model.expression_std, goal, 0.1, centre=centre)
    assert (place(basis, fit) - goal).norm(dim=-1).mean() < 0.5  # px; the faces are 300 px high


def test_the_average_person_has_no_expression(model: MorphableModel, data_dir: Path) -> None:
    centre = population_centre(model, data_dir / "bfm68")
    assert not centre[model.identity_count :].any()
    assert 0.3 < centre[: model.identity_count].square().mean().sqrt() < 1.0
    corners = model.landmarks(centre[None, : model.identity_count])[0]
    assert corners[16, 0] - corners[0, 0] < model.landmarks_of(model.mean[None])[0][[0, 16], 0].diff().abs()
