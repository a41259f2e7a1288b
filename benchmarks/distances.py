"""Point-to-plane distance from a scan to a face mesh, beside trimesh's closest points on the same mesh."""

from collections.abc import Callable
from functools import partial

import numpy as np
import trimesh
from jaxtyping import Float, Int

from benchmarks.rasteriser import sphere
from benchmarks.timing import Timing, measure
from eval.distance import Surface
from eval.point_to_plane import point_to_plane

POINTS = 100_000
POINTS_OF_TRIMESH = 5_000


def scan_of(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], count: int
) -> Float[np.ndarray, "N 3"]:
    """Points near the surface, uneven as a scan's."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet((1.0, 1.0, 1.0), count)
    corners = vertices[triangles[rng.integers(len(triangles), size=count)]].astype(np.float64)
    return (weights[:, :, None] * corners).sum(1) + rng.normal(0, 0.5, (count, 3))


def run(quick: bool = False) -> list[Timing]:
    """100,000 points to about 20,000 faces; `quick` leaves out trimesh, whose 5,000 points take seconds."""
    vertices, triangles = sphere()
    points = scan_of(vertices, triangles, POINTS)
    cases: list[tuple[str, Callable[[], object]]] = [
        ("build the tree of 20k faces", partial(Surface, vertices, triangles)),
        ("100k points to the closest surface point", partial(Surface(vertices, triangles).closest, points)),
        ("100k points to the plane there", partial(point_to_plane, Surface(vertices, triangles), points)),
    ]
    timings = [measure(name, case) for name, case in cases]
    return timings if quick else [*timings, *_beside_trimesh(vertices, triangles, points[:POINTS_OF_TRIMESH])]


def _beside_trimesh(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], points: Float[np.ndarray, "N 3"]
) -> list[Timing]:
    """The same fewer points by both, once by trimesh."""
    mesh = trimesh.Trimesh(vertices, triangles, process=False)
    ours = measure("5k points to the closest surface point", partial(Surface(vertices, triangles).closest, points))
    theirs = measure("the same by trimesh.proximity.closest_point", partial(_by_trimesh, mesh, points), least_calls=1)
    ratio = theirs.fastest_ms / ours.fastest_ms
    return [ours, theirs._replace(name=f"{theirs.name}: {ratio:.0f} times as long")]


def _by_trimesh(mesh: trimesh.Trimesh, points: Float[np.ndarray, "N 3"]) -> object:
    return trimesh.proximity.closest_point(mesh, points)
