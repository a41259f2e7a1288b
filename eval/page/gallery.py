"""The best, middle and worst samples of a run, and their pictures where the run kept them."""

import base64
from typing import NamedTuple

import numpy as np

from eval.page.charts import Series
from eval.page.runs import PageRun

_JPEG = b"\xff\xd8\xff"


class Shown(NamedTuple):
    """A sample of the gallery; `jpeg` is None where there is no picture of it."""

    rank: str
    name: str
    error: float
    yaw_deg: float | None
    jpeg: bytes | None


def spread(count: int, each: int) -> list[tuple[str, int]]:
    """Places of the best, the middle and the worst `each` of `count` in order, each place once."""
    middle = max((count - each) // 2, 0)
    wanted = {
        "best": range(min(each, count)),
        "worst": range(max(count - each, 0), count),
        "median": range(middle, min(middle + each, count)),
    }
    taken: dict[int, str] = {}
    for rank, places in wanted.items():
        for place in places:
            taken.setdefault(place, rank)
    return [(taken[place], place) for place in sorted(taken)]


def ranked(run: PageRun, errors: Series, each: int = 3) -> list[Shown]:
    """Best, median and worst samples by `errors`, best first, with their pictures."""
    order = np.argsort(errors.errors, kind="stable")
    shown = []
    for rank, place in spread(len(order), each):
        index = int(order[place])
        name = errors.names[index]
        yaw_deg = None if errors.yaw_deg is None else float(errors.yaw_deg[index])
        kept = run.pictures.get(name)
        content = None if kept is None else kept.read()
        jpeg = content if content is not None and content.startswith(_JPEG) else None
        shown.append(Shown(rank, name, float(errors.errors[index]), yaw_deg, jpeg))
    return shown


def data_uri(jpeg: bytes) -> str:
    """The picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
