"""Weights round-trip; damage and foreign files are named; assets are checked."""

import json

import pytest
import torch

from face3d.checkpoint import asset_path, load_weights, save_weights, write_manifest


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 4), "count": torch.tensor(7), "large": torch.tensor([1e6])}


def test_round_trip_in_half_precision(tmp_path, state):
    path = tmp_path / "new" / "w.safetensors"
    save_weights(path, state, {"stage": "pgn", "config": {"size": 128}})
    loaded, meta = load_weights(path)
    assert meta["stage"] == "pgn" and meta["config"] == {"size": 128}
    assert loaded["a.weight"].dtype == torch.float32
    torch.testing.assert_close(loaded["a.weight"], state["a.weight"], rtol=1e-3, atol=1e-4)
    assert loaded["count"] == 7 and loaded["large"] == 1e6
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_channels_last_weights_are_stored_in_order(tmp_path):
    weight = torch.randn(4, 3, 2, 2).half().float()
    save_weights(tmp_path / "w.safetensors", {"w": weight.to(memory_format=torch.channels_last)}, {})
    assert torch.equal(load_weights(tmp_path / "w.safetensors")[0]["w"], weight)


def test_shared_tensors_are_kept(tmp_path, state):
    shared = torch.randn(3)
    save_weights(tmp_path / "w.safetensors", {"a": shared, "b": shared}, {})
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    assert torch.equal(loaded["a"], loaded["b"])


def test_non_finite_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'bad'.*NaN"):
        save_weights(tmp_path / "w.safetensors", {"bad": torch.tensor([float("nan")])}, {})
    assert list(tmp_path.iterdir()) == []


def test_missing_truncated_and_foreign_files_are_named(tmp_path, state):
    path = tmp_path / "w.safetensors"
    with pytest.raises(FileNotFoundError, match="w.safetensors"):
        load_weights(path)
    save_weights(path, state, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_weights(path)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, str(path))
    with pytest.raises(ValueError, match="no face3d description"):
        load_weights(path)
    save_file({"a": torch.zeros(1)}, str(path), metadata={"face3d": json.dumps({"format": "other"})})
    with pytest.raises(ValueError, match="'other'"):
        load_weights(path)


def test_assets_are_checked_against_the_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.json"):
        asset_path("a.bin", tmp_path)
    (tmp_path / "a.bin").write_bytes(b"abc")
    entries = write_manifest(tmp_path)
    assert entries["a.bin"]["bytes"] == 3
    assert asset_path("a.bin", tmp_path) == tmp_path / "a.bin"
    with pytest.raises(FileNotFoundError, match="not listed"):
        asset_path("b.bin", tmp_path)
    (tmp_path / "a.bin").write_bytes(b"abcd")
    with pytest.raises(ValueError, match=entries["a.bin"]["sha256"]):
        asset_path("a.bin", tmp_path)
    (tmp_path / "a.bin").unlink()
    with pytest.raises(FileNotFoundError, match="missing"):
        asset_path("a.bin", tmp_path)
