"""Exported weights come with a card that names no folder of the machine, and are listed in the manifest."""

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from face3d.checkpoint import asset_path, load_weights, save_weights
from train.export import main, mean_state, portable, summary


def test_commands_lose_the_folders_of_the_machine() -> None:
    assert portable(["/a/b/__main__.py", "pgn", "--extra", "/x/y/views", "--minutes", "3"]) == (
        "python -m train pgn --extra views --minutes 3"
    )


def test_summaries_leave_out_single_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"ours": {"summary": {"nme": 3.0}, "samples": {"x": 1}}, "environment": {"torch": "2"}}))
    assert summary(path) == {"ours": {"summary": {"nme": 3.0}}}


def test_export_writes_weights_card_and_manifest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    meta = {"stage": "pgn", "network": {"pgn": {}}, "step": 7, "minutes": 1.0, "figures": {"nme": 2.0}}
    save_weights(run / "weights.safetensors", {"a": torch.ones(2)}, meta)
    (run / "config.json").write_text(json.dumps({"command": ["/m/__main__.py", "pgn"]}))
    out = tmp_path / "assets" / "net.safetensors"
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(run), "-o", str(out), "--description", "toy", "--earlier", str(run)])
    assert result.exit_code == 0, result.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["description"] == "toy" and [part["steps"] for part in card["runs"]] == [7, 7]
    assert load_weights(asset_path("net.safetensors", out.parent))[1]["stage"] == "pgn"
    assert out.stat().st_mode & 0o044


def test_weights_of_several_runs_are_averaged(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("two", 3.0)):
        state = {"a": torch.full((2,), value), "count": torch.tensor([7])}
        save_weights(tmp_path / name / "weights.safetensors", state, {"stage": "detector"})
    mean = mean_state([tmp_path / "one", tmp_path / "two"])
    assert mean["a"].tolist() == [2.0, 2.0] and mean["count"].tolist() == [7]
    save_weights(tmp_path / "two" / "weights.safetensors", {"b": torch.ones(1)}, {"stage": "detector"})
    with pytest.raises(ValueError, match="different names"):
        mean_state([tmp_path / "one", tmp_path / "two"])
