import torch
from typer.testing import CliRunner

from benchmarks import multi_step, rasteriser
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.timing import measure
from face3d.texture_swap import look


def test_measure_counts_calls() -> None:
    calls: list[int] = []
    timing = measure("nothing", lambda: calls.append(1), seconds=0.0)
    assert timing.calls == 3 and len(calls) == 4
    assert 0 <= timing.fastest_ms <= timing.median_ms


def test_the_mesh_is_the_one_promised() -> None:
    vertices, triangles = rasteriser.sphere()
    assert len(vertices) == 10_000 and 19_000 < len(triangles) <= 20_000


def test_unknown_name_is_said() -> None:
    import typer

    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["opengl"])
    assert result.exit_code == 2 and "rasteriser" in BENCHMARKS


def test_parts_of_a_multi_frame_step_make_up_the_whole() -> None:
    whole, *parts = multi_step.run(quick=True)
    assert "steps/s" in whole.name and "images/s" in whole.name
    names = [part.name.strip() for part in parts]
    assert names == ["networks", "rasterise", "swap", "census", "flow", "parser", "backward"]
    assert 0.8 * whole.median_ms < sum(part.median_ms for part in parts) <= whole.median_ms


def test_the_step_reaches_the_regressors_through_pictures_that_share_skin() -> None:
    step = multi_step.MultiStep(1, 64, torch.device("cpu"))
    vertices_px = step._vertices_px()
    landmarks_px = step.networks.model.landmarks_of(vertices_px.detach().flatten(0, 1))[..., :2]
    assert 0 < float(landmarks_px.min()) and float(landmarks_px.max()) < 63
    pairs = step._swapped([look(vertices_px[:, k], step.triangles, (64, 64)) for k in range(2)])
    assert 0.1 < float(pairs.mask.float().mean()) < 0.9
    step._losses(pairs).mean().backward()
    gradient = step.networks.regressor.out.weight.grad
    assert gradient is not None and bool(gradient.any())
