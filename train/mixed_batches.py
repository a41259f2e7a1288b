"""Batches of people with labelled single views beside them: one dictionary, the views' names marked."""

from collections.abc import Iterator
from dataclasses import dataclass

from train.task import Batch, BatchSource

_MARK = "view."


@dataclass(frozen=True)
class PeopleAndViews:
    """Seed -> endless batches of `people`, each with a batch of `views` beside it (their first dimensions differ)."""

    people: BatchSource
    views: BatchSource

    def __call__(self, seed: int) -> Iterator[Batch]:
        """As of both sources, whose errors are raised."""
        for people, views in zip(self.people(seed), self.views(seed), strict=True):
            yield beside(people, views)


def beside(people: Batch, views: Batch) -> Batch:
    """Both in one batch."""
    return people | {f"{_MARK}{name}": values for name, values in views.items()}


def views_of(batch: Batch) -> Batch:
    """The views in a batch; empty where it has none."""
    return {name.removeprefix(_MARK): values for name, values in batch.items() if name.startswith(_MARK)}
