"""A triangle mesh with no edge longer than asked: the same surface, with vertices spread more evenly.

Every edge that is too long gets a vertex at its middle, and its triangles are cut accordingly, until there is none.
"""

import numpy as np
from jaxtyping import Float, Int


def split_long_edges(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"], longest: float
) -> tuple[Float[np.ndarray, "W 3"], Int[np.ndarray, "G 3"]]:
    """Vertices, the old ones first, and triangles; `longest` in the vertices' unit. ValueError unless positive."""
    if not longest > 0.0:
        raise ValueError(f"edges of at most {longest} are asked for: expected a positive length")
    while True:
        sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        edges, of_side = np.unique(sides, axis=0, return_inverse=True)
        long = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1) > longest
        if not long.any():
            return vertices, triangles
        middle = np.full(len(edges), -1)
        middle[long] = len(vertices) + np.arange(long.sum())
        vertices = np.concatenate([vertices, vertices[edges[long]].mean(1)])
        triangles = _cut(triangles, middle[of_side.reshape(-1, 3)])


def _cut(triangles: Int[np.ndarray, "F 3"], middle: Int[np.ndarray, "F 3"]) -> Int[np.ndarray, "G 3"]:
    """Triangles cut at the middles of their sides 01, 12, 20 (-1: whole), turning the way they turned."""
    count = (middle >= 0).sum(1)
    # Turned so that side 01 is cut where one is, and side 20 is whole where two are cut.
    first = np.where(count == 2, (np.argmin(middle, axis=1) + 1) % 3, np.argmax(middle >= 0, axis=1))
    order = (first[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(triangles, order, 1).T
    ab, bc, ca = np.take_along_axis(middle, order, 1).T
    parts = {
        0: [(a, b, c)],
        1: [(a, ab, c), (ab, b, c)],
        2: [(ab, b, bc), (a, ab, bc), (a, bc, c)],
        3: [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)],
    }
    return np.concatenate([np.stack(part, 1)[count == number] for number, each in parts.items() for part in each])
