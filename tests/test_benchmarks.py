from typer.testing import CliRunner

from benchmarks import rasteriser
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.timing import measure


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
