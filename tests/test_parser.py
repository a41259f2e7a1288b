"""The face parser: sizes, gradients, its loss and figures by hand, and the loader."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.checkpoint import save_weights
from face3d.networks.parser import CLASSES, UNKNOWN, ParserConfig, ParserNetwork
from face3d.parse import FaceParser
from face3d.parse_labels import coloured, confusion, intersection_over_union
from train.parser import ADJUSTED, parser_losses

SMALL = ParserConfig(channels=(8, 8, 8, 8), crop_size=32)
ONES = torch.ones(len(CLASSES))


@pytest.fixture
def network() -> ParserNetwork:
    """A small network, its last layer larger than a fresh one's, so that its answers differ."""
    torch.manual_seed(0)
    made = ParserNetwork(SMALL)
    torch.nn.init.normal_(made.predict.weight, 0, 0.1)
    return made.eval()


@pytest.fixture
def weights(network: ParserNetwork, tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save_weights(path, network.state_dict(), {"stage": "parser", "network": {"config": asdict(SMALL)}})
    return path


def test_network_is_small(tmp_path: Path) -> None:
    network = ParserNetwork()
    assert 300_000 < sum(p.numel() for p in network.parameters()) <= 500_000
    save_weights(tmp_path / "w.safetensors", network.state_dict(), {})
    assert (tmp_path / "w.safetensors").stat().st_size <= 1_000_000


@pytest.mark.parametrize("size", [16, 48, 128])
def test_every_pixel_gets_every_class(network: ParserNetwork, size: int) -> None:
    images = torch.rand(2, 3, size, size)
    assert network(images).shape == (2, 9, size, size)
    probabilities = network.probabilities(images)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, size, size))
    assert float(probabilities.detach().min()) > 0


def test_a_fresh_network_prefers_no_class() -> None:
    probabilities = ParserNetwork(SMALL).eval().probabilities(torch.rand(1, 3, 32, 32))
    assert float(probabilities.detach().max()) < 0.3


def test_gradients_reach_every_weight_and_the_picture() -> None:
    torch.manual_seed(0)
    network, images = ParserNetwork(SMALL), torch.rand(2, 3, 32, 32, requires_grad=True)
    labels = torch.randint(0, 9, (2, 32, 32), dtype=torch.uint8)
    parser_losses(network(images), labels, ONES).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
        assert bool(torch.isfinite(parameter.grad).all()), name
    assert images.grad is not None and bool(images.grad.flatten(1).any(1).all())


def test_what_is_seen_far_away_counts() -> None:
    """The middle of a crop sees all of it."""
    torch.manual_seed(0)
    network, images = ParserNetwork().eval(), torch.rand(1, 3, 128, 128, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(images)[0, :, 64, 64].sum(), images)
    assert bool(gradient[..., :4, :4].any()) and bool(gradient[..., -4:, -4:].any())


def test_loss_by_hand() -> None:
    """Two known pixels of classes that weigh 1 and 3, two unknown ones."""
    logits = torch.zeros(1, 9, 2, 2)
    logits[0, 1, 0, 0], logits[0, 2, 0, 1] = 2.0, -1.0
    labels = torch.tensor([[[1, 2], [UNKNOWN, UNKNOWN]]], dtype=torch.uint8)
    weights = ONES.clone()
    weights[2] = 3.0
    often = 3.0**ADJUSTED  # how much likelier the class of weight 3 is held for in training
    one = -np.log(np.exp(2) / (7 + often + np.exp(2)))
    two = -np.log(often * np.exp(-1) / (8 + often * np.exp(-1)))
    loss = parser_losses(logits, labels, weights)
    np.testing.assert_allclose(loss.numpy(), [(one + 3 * two) / 4], rtol=1e-6)


def test_each_sample_has_its_own_loss() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 9, 4, 4), torch.randint(0, 9, (3, 4, 4), dtype=torch.uint8)
    together = parser_losses(logits, labels, ONES)
    alone = torch.cat([parser_losses(logits[i : i + 1], labels[i : i + 1], ONES) for i in range(3)])
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(together.mean(), torch.nn.functional.cross_entropy(logits, labels.long()))


def test_a_sample_of_which_nothing_is_known_costs_nothing() -> None:
    logits = torch.randn(2, 9, 4, 4, requires_grad=True)
    labels = torch.full((2, 4, 4), UNKNOWN, dtype=torch.uint8)
    labels[1] = 4
    losses = parser_losses(logits, labels, ONES)
    losses.mean().backward()
    assert float(losses[0].detach()) == 0.0 and float(losses[1].detach()) > 0
    assert logits.grad is not None and not bool(logits.grad[0].any()) and bool(logits.grad[1].any())
    assert bool(torch.isfinite(logits.grad).all())


def test_iou_by_hand() -> None:
    """Of two classes that occur: skin 2 of 4, nose 1 of 2; the unknown pixel and classes that do not occur are left
    out."""
    labels = torch.tensor([[[1, 1, 1, 4, UNKNOWN, 4]]], dtype=torch.uint8).view(1, 2, 3)
    found = torch.tensor([[[1, 1, 8, 1, 7, 4]]], dtype=torch.uint8).view(1, 2, 3)
    counts = confusion(found[..., :2], labels[..., :2]) + confusion(found[..., 2:], labels[..., 2:])
    assert counts.sum() == 5 and counts[1, 8] == 1 and counts[4, 1] == 1
    assert intersection_over_union(counts) == {"mean_iou": 0.5, "iou_skin": 0.5, "iou_nose": 0.5}
    assert intersection_over_union(np.zeros_like(counts)) == {"mean_iou": 0.0}


def test_background_and_unknown_are_not_coloured() -> None:
    crops = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    picture = coloured(crops, torch.tensor([[[0, UNKNOWN], [1, 8]]], dtype=torch.uint8))
    assert (picture[0, 0] == 100).all() and (picture[0, 1] != 100).any(-1).all()


def test_loaded_weights_answer_as_the_network(network: ParserNetwork, weights: Path) -> None:
    parser, crops = FaceParser(weights), torch.rand(2, 3, 32, 32)
    assert parser.crop_size == 32
    with torch.no_grad():
        torch.testing.assert_close(parser(crops), network.probabilities(crops), atol=5e-3, rtol=0)


def test_gradients_reach_the_crops_alone(weights: Path) -> None:
    parser, crops = FaceParser(weights), torch.rand(1, 3, 32, 32, requires_grad=True)
    parser(crops)[:, 1].mean().backward()
    assert crops.grad is not None and bool(crops.grad.any()) and bool(torch.isfinite(crops.grad).all())
    assert not any(p.requires_grad for p in parser.network.parameters())


def test_crops_of_other_sides_are_refused(weights: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        FaceParser(weights)(torch.rand(1, 3, 40, 40))


def test_foreign_and_missing_weights_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {}, {"stage": "pgn"})
    with pytest.raises(ValueError, match="'pgn'"):
        FaceParser(tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match="no weights"):
        FaceParser(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="damaged"):
        FaceParser(tmp_path / "bad.safetensors")
