"""Finding people in VoxCeleb's layout, videos and photos; tracks; shards that survive a kill."""

import gc
import io
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset
from typer.testing import CliRunner

from tests.fake_people import CONFIG, DOT, FACE_PX, frame, frames, open_deadly, open_fake, write_frames, write_video
from train.people_folders import Source, find_people, held_out, read_frames
from train.people_shards import make_shards, totals
from train.people_tracks import OpenFinder, sharpness, spread
from train.prepare import app

PICTURE = frame(50, 40)


def write_photos(path: Path, names: list[str]) -> None:
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(names):
            image = cv2.cvtColor(frame(40 + number, 30, 15 * (number % 3)), cv2.COLOR_RGB2BGR)
            content = cv2.imencode(".jpg", image)[1].tobytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of three VoxCeleb people, two folders of frames, one other video."""
    root = tmp_path_factory.mktemp("videos")
    for person in ("id00012", "id00017", "id00018"):
        for utterance in ("00001", "00002"):
            write_video(root / "dev" / "mp4" / person / "vid.x" / f"{utterance}.mp4", frames(12))
    write_frames(root / "frames" / "id10001" / "1.6" / "abc", frames(12))
    write_frames(root / "walk", frames(8))
    write_video(root / "others" / "talk.1.mp4", frames(12))
    return root


def only(sources: list[Source], person: str) -> Source:
    return next(source for source in sources if source.person == person)


def names_in(out: Path) -> list[str]:
    """All members of all shards."""
    names: list[str] = []
    for shard in sorted(out.glob("people-*.tar")):
        with tarfile.open(shard) as archive:
            names += archive.getnames()
    return names


def test_every_layout_is_found(videos: Path, tmp_path: Path) -> None:
    write_photos(tmp_path / "a.tar", ["Ann_Lee_0001.jpg", "Ann_Lee_0002.jpg", "Bo_Ek_0001.jpg", "Cy_Dee_0001.jpg"])
    (tmp_path / "more").mkdir()
    write_photos(tmp_path / "more" / "b.tar", ["Cy_Dee/Cy_Dee_0002.jpg", "Ann_Lee/Ann_Lee_0003.jpg"])
    write_frames(tmp_path / "faces" / "Di Fox", [PICTURE] * 2)
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 200)
    found = find_people([videos], [tmp_path / name for name in ("a.tar", "more", "broken.tar", "faces")])
    assert Counter((source.person, source.kind) for source in found.sources) == {
        ("id00012", "video"): 2, ("id00017", "video"): 2, ("id00018", "video"): 2, ("id10001", "frames"): 1,
        ("walk", "frames"): 1, ("talk.1", "video"): 1, ("Ann_Lee", "photos"): 1, ("Cy_Dee", "photos"): 1,
        ("Di Fox", "photos"): 1,
    }  # fmt: skip
    assert [only(found.sources, person).key for person in ("id10001", "talk.1", "walk", "Di Fox")] == [
        "id10001__1-6-abc", "talk-1__others-talk-1", "walk__walk", "Di-Fox__photos"]  # fmt: skip
    assert [photo.name for photo in only(found.sources, "Ann_Lee").photos] == [
        "Ann_Lee_0001.jpg", "Ann_Lee_0002.jpg", "Ann_Lee/Ann_Lee_0003.jpg"]  # fmt: skip
    assert found.single_photos == 1 and found.broken == [str(tmp_path / "broken.tar")]
    assert len({source.key for source in found.sources}) == 12
    photos = list(read_frames(only(found.sources, "Cy_Dee")))
    assert len(photos) == 2 and photos[0][1].shape == (120, 160, 3)


def test_a_place_inside_the_layout_will_do_and_nothing_is_found_twice(videos: Path) -> None:
    below = videos / "dev" / "mp4" / "id00017" / "vid.x"
    one = find_people([below / "00002.mp4"]).sources
    assert [(s.person, s.video) for s in one] == [("id00017", "vid.x/00002")]
    assert len(find_people([videos, below, videos]).sources) == len(find_people([videos]).sources) == 9
    with pytest.raises(FileNotFoundError, match="not there"):
        find_people([videos / "none"])


def test_a_fifth_of_the_people_is_kept_unseen_and_none_is_split(videos: Path) -> None:
    assert 0.17 < np.mean([held_out(f"id{number:05d}") for number in range(4000)]) < 0.23
    people: dict[str, set[bool]] = {}
    for source in find_people([videos]).sources:
        people.setdefault(source.person, set()).add(source.held_out)
    assert all(len(values) == 1 for values in people.values())


def test_a_video_becomes_a_track_whose_landmarks_lie_on_the_face(videos: Path) -> None:
    (track,) = open_fake()(only(find_people([videos]).sources, "id00012"))
    assert [f.number for f in track.frames] == [0, 2, 4, 6, 8, 10]
    yaws = np.array([f.yaw_deg for f in track.frames])
    assert np.abs(yaws - np.linspace(-20, 20, 12)[::2]).max() < 3
    for shown in track.frames:
        crop = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
        white = np.argwhere(crop.min(2) > 200).mean(0)[::-1]
        assert np.abs(white - shown.landmarks_px[DOT, :2]).max() < 1.5
        in_frame = np.linalg.inv(shown.T_crop_from_frame) @ [*shown.landmarks_px[0, :2], 1]
        assert np.abs(in_frame[:2] - [30 + 2 * shown.number, 40]).max() < 1.5
        assert abs(shown.face_px - FACE_PX) < 2 and crop.shape == (96, 96, 3)
        assert np.abs(np.ptp(shown.landmarks_px[:, :2], axis=0).max() - 96 / CONFIG.crop_factor) < 1.5


def test_two_faces_are_two_tracks_and_another_shot_ends_them(tmp_path: Path) -> None:
    both = [np.concatenate([frame(20 + n, 40), frame(80 - n, 50)], axis=1) for n in range(8)]
    other_shot = [255 - image // 3 for image in both]
    for image in other_shot:
        image[30:90, 20:80] = frame(10, 10)[:60, :60]
    write_video(tmp_path / "two.mp4", both + other_shot)
    tracks = open_fake()(find_people([tmp_path]).sources[0])
    assert [[f.number for f in track.frames] for track in tracks] == [[0, 2, 4, 6], [0, 2, 4, 6], [8, 10, 12, 14]]
    assert len({track.key for track in tracks}) == 3


def test_blurred_frames_are_left_out_and_chosen_ones_are_spread(tmp_path: Path) -> None:
    images = frames(16)
    images[6] = cv2.GaussianBlur(images[6], (0, 0), 6)
    write_video(tmp_path / "blurred.mp4", images)
    (track,) = open_fake()(find_people([tmp_path]).sources[0])
    assert [f.number for f in track.frames] == [0, 2, 4, 8, 10, 12, 14]
    few = sorted(spread(track.frames, 3))
    assert len(few) == 3 and np.ptp([track.frames[row].yaw_deg for row in few]) > 15 and spread([], 3) == []
    points = np.array([[50.0, 40], [90, 80]])
    assert sharpness(PICTURE, points) > 2 * sharpness(cv2.GaussianBlur(PICTURE, (0, 0), 2), points)


def test_photos_of_a_person_are_one_track(tmp_path: Path) -> None:
    write_photos(tmp_path / "some.tar", [f"Ann_Lee_{n:04d}.jpg" for n in range(1, 5)])
    (track,) = open_fake()(find_people([], [tmp_path / "some.tar"]).sources[0])
    assert track.key == "Ann_Lee__photos__00" and len(track.frames) == 4


@pytest.fixture
def broken(videos: Path, tmp_path: Path) -> Path:
    for name in ("noise.mp4", "deadly.mp4"):
        (tmp_path / name).write_bytes(b"no video" * 100)
    (tmp_path / "empty.mp4").touch()
    return tmp_path


def test_a_video_that_kills_its_process_is_named_and_takes_nothing_with_it(videos: Path, broken: Path) -> None:
    out = broken / "out"
    sources = find_people([videos / "walk", broken / "deadly.mp4"]).sources
    done = list(make_shards(sources, out, open_deadly, CONFIG, workers=1, tracks_per_shard=2))
    assert {done.source.person: done.error for done in done} == {
        "walk": None, "deadly": "the process that read it died"}  # fmt: skip
    assert totals(out).tracks == 1 and totals(out).people == {"walk"}
    again = make_shards(find_people([videos / "walk"]).sources, out, open_fake, CONFIG, workers=0)
    assert list(again) == []  # all that can be read is done


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # by webdataset
def test_shards_are_readable_by_webdataset_and_hold_what_they_promise(videos: Path, tmp_path: Path) -> None:
    list(make_shards(find_people([videos]).sources, tmp_path, open_fake, CONFIG, 0, tracks_per_shard=4))
    shards = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    assert [Path(shard).name for shard in shards] == [f"people-{n:06d}.tar" for n in range(3)]
    data = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("rgb8")
    samples = {sample["__key__"]: sample for sample in data}
    gc.collect()
    assert len(samples) == 9
    sample = samples["id00012__vid-x-00001__00"]
    assert sample["f000.jpg"].shape == (96, 96, 3) and len([name for name in sample if name.endswith(".jpg")]) == 6
    description = sample["json"]
    assert (description["person"], description["source"]) == ("id00012", "video:vid.x/00001")
    assert (description["size"], description["crop_factor"], description["held_out"]) == (96, 1.6, held_out("id00012"))
    first = description["frames"][0]
    assert set(first) == {"frame", "landmarks_px", "confidence", "pitch_deg", "yaw_deg", "roll_deg", "sharpness",
                          "face_px", "T_crop_from_frame"}  # fmt: skip
    assert np.shape(first["landmarks_px"]) == (68, 3) and np.shape(first["T_crop_from_frame"]) == (3, 3)


KILLS = """
import os, signal, sys
from pathlib import Path
from tests.fake_people import CONFIG, open_fake
from train import people_shards
from train.people_folders import find_people

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def run(out, moment):
    if moment == "before the name":
        real = os.replace
        people_shards.os.replace = lambda part, name: kill() if str(name).endswith(".tar") else real(part, name)
    if moment == "before the journal":
        people_shards.os.fsync = lambda number: kill()
    for number, _ in enumerate(people_shards.make_shards(find_people([Path(sys.argv[1])]).sources, out, open_fake,
                                                         CONFIG, 0, 2)):
        if number == 4:
            kill()

for moment in ("before the name", "before the journal", "in a shard"):
    pid = os.fork()
    if pid == 0:
        run(Path(sys.argv[2], moment), moment)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
"""


def test_after_a_kill_a_run_goes_on_and_no_sample_comes_twice(videos: Path, tmp_path: Path) -> None:
    list(make_shards(find_people([videos]).sources, tmp_path / "whole", open_fake, CONFIG, 0, 2))
    whole = names_in(tmp_path / "whole")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", KILLS, str(videos), str(tmp_path)], check=True, env=environment)
    for moment, left in (("before the name", 7), ("before the journal", 9), ("in a shard", 5)):
        out = tmp_path / moment
        assert list(out.glob("*.part"))
        done = list(make_shards(find_people([videos]).sources, out, open_fake, CONFIG, 0, 2))
        assert len(done) == left and Counter(names_in(out)) == Counter(whole) and max(Counter(whole).values()) == 1
        assert not list(out.glob("*.part")) and totals(out) == totals(tmp_path / "whole")


def test_what_a_kill_left_of_a_journal_line_is_dropped(videos: Path, tmp_path: Path) -> None:
    sources = find_people([videos]).sources
    for _ in zip(range(5), make_shards(sources, tmp_path, open_fake, CONFIG, 0, 2), strict=False):
        pass
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"shard": "people-0000')
    (tmp_path / "people-000001.tar").unlink()
    done = list(make_shards(sources, tmp_path, open_fake, CONFIG, 0, 2))
    assert len(done) == 7 and max(Counter(names_in(tmp_path)).values()) == 1 and len(names_in(tmp_path)) == 61
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["shard"][-8:-4] for line in lines] == ["0000", "0001", "0002", "0003", "0004", "0005"]


def test_a_folder_of_other_settings_or_of_something_else_is_refused(videos: Path, tmp_path: Path) -> None:
    list(make_shards([], tmp_path / "a", open_fake, CONFIG, 0))
    with pytest.raises(ValueError, match="take the same settings"):
        list(make_shards([], tmp_path / "a", open_fake, replace(CONFIG, size=128), 0))
    with pytest.raises(ValueError, match="holds files but no people.json"):
        list(make_shards([], videos, open_fake, CONFIG, 0))


def test_the_command_tells_what_it_made(videos: Path, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenFinder, "__call__", lambda self: open_fake())
    arguments = ["people", "--videos", str(videos / "walk"), "--videos", str(broken), "-o", str(broken / "out")]
    result = CliRunner().invoke(app, [*arguments, "--workers", "0"], catch_exceptions=False)
    assert result.exit_code == 0 and "1 people, 1 tracks, 4 frames of 1 videos" in result.output
    assert "noise.mp4: no frame of noise can be read" in result.output
    named = result.output.split("3 skipped: ")[1].split(", ")
    assert {Path(name.strip()).name for name in named} == {"noise.mp4", "deadly.mp4", "empty.mp4"}
    with pytest.raises(ValueError, match="no videos and nobody"):
        (broken / "nothing").mkdir()
        CliRunner().invoke(app, ["people", "--videos", str(broken / "nothing"), "-o", "x"], catch_exceptions=False)
