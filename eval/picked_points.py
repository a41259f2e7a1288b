"""MeshLab's picked points (.pp): an XML file with one `point` element, x, y and z, for each point of a mesh."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float


def read_pp(path: Path) -> Float[np.ndarray, "N 3"]:
    """All points in the file's order, in the frame and unit of the mesh they were picked on.

    Names and the mark `active` are passed over, as NoW's evaluation does.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not XML, no points, or a coordinate that is missing or not finite.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such landmarks: {path}")
    data = path.read_bytes()
    try:
        if b"<!ENTITY" in data:
            raise ValueError("it declares entities")
        points = [[float(point.attrib[axis]) for axis in "xyz"] for point in ElementTree.fromstring(data).iter("point")]
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected MeshLab's picked points ({error!r})") from error
    if not points:
        raise ValueError(f"{path}: no picked points")
    if not np.isfinite(points).all():
        raise ValueError(f"{path}: a picked point is not finite")
    return np.array(points, np.float64)
