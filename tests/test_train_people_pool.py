"""Tracks that wait to be drawn: photos and videos in the share that is asked for, each track once before another."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face3d.morphable import MorphableModel
from tests.toy_shards import write_shards
from train.people_batches import PeopleBatches, held_out_people
from train.people_pool import LOOK_AHEAD, HeldTrack, TrackPool


def track(name: str, photos: bool) -> HeldTrack:
    return HeldTrack(name, photos, [b""] * 2, *(np.zeros(shape, np.float32) for shape in ((2, 68, 3), (2, 68), (2,))))


def passes(tracks: Sequence[HeldTrack], read: Counter[str] | None = None) -> Iterator[HeldTrack | None]:
    while True:
        for one in tracks:
            if read is not None:
                read[one.person] += 1
            yield one
        yield None


def crowd(photos: int, videos: int) -> list[HeldTrack]:
    return [track(f"photos {n}", True) for n in range(photos)] + [track(f"video {n}", False) for n in range(videos)]


def drawn(pool: TrackPool, count: int) -> list[HeldTrack]:
    rng = np.random.default_rng(1)
    return [pool.draw(rng) for _ in range(count)]


@settings(max_examples=10, deadline=None)
@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 40))
def test_each_kind_gets_its_share_however_many_there_are(share: float, photos: int, videos: int) -> None:
    tracks = drawn(TrackPool(passes(crowd(photos, videos)), 16, share), 1500)
    assert abs(np.mean([one.photos for one in tracks]) - share) < 0.06


def test_a_kind_that_is_alone_is_all_that_is_drawn() -> None:
    for photos, videos in ((5, 0), (0, 5)):
        tracks = drawn(TrackPool(passes(crowd(photos, videos)), 2, 0.5), 50)
        assert {one.photos for one in tracks} == {photos > 0} and len({one.person for one in tracks}) == 5


def test_what_fits_is_read_once_and_drawn_alike() -> None:
    read: Counter[str] = Counter()
    tracks = drawn(TrackPool(passes(crowd(3, 5), read), 8, 0.5), 3000)
    assert set(read.values()) == {1}
    counts = Counter(one.person for one in tracks)
    assert min(counts.values()) > 0.7 * max(counts[f"photos {n}"] for n in range(3)) * 3 / 5


def test_what_does_not_fit_comes_round() -> None:
    tracks = drawn(TrackPool(passes(crowd(200, 3)), 8, 0.5), 1200)
    counts = Counter(one.person for one in tracks)
    assert sum(name.startswith("photos") for name in counts) > 190
    assert min(counts[f"video {n}"] for n in range(3)) > 130


def test_the_first_drawing_does_not_wait_for_a_kind_that_is_far_off() -> None:
    read: Counter[str] = Counter()
    pool = TrackPool(passes([*crowd(1000, 0), track("video", False)], read), 8, 0.5)
    assert read.total() == LOOK_AHEAD * 8
    assert "video" in {one.person for one in drawn(pool, 1100)}
    with pytest.raises(ValueError, match="from 0 to 1"):
        TrackPool(passes(crowd(1, 1)), 8, 1.5)


def test_shards_tell_photos_from_videos(tmp_path: Path) -> None:
    model = MorphableModel.random(0, rows=25, columns=25)
    shards = write_shards(tmp_path / "shards", model, people=8, frames=2, photo_people=4)
    for share in (0.0, 1.0):
        source = PeopleBatches((shards,), crop_size=32, batch_size=4, pool=8, photo_share=share)
        assert next(source(0))["frames"].shape == (4, 2, 3, 32, 32)
    assert len(held_out_people([shards], 2, 32, 50)["frames"]) == 4
    videos, mixed, photos = (
        held_out_people([shards], 2, 32, 2, photo_share=share)["frames"] for share in (0.0, 0.5, 1.0)
    )
    of_video, of_photos = (sorted(kind[0].flatten(1).float().mean(1).tolist()) for kind in (videos, photos))
    assert [sorted(p.flatten(1).float().mean(1).tolist()) for p in mixed] == [of_video, of_photos] != [of_photos] * 2
