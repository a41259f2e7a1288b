"""The second look of the PGN: it starts as nothing, sees what lies under the texels, lets no gradient into places."""

import pytest
import torch
from torch import Tensor

from face3d.networks.backbone import Features
from face3d.networks.refiner import Refiner, RefinerConfig

CONFIG = RefinerConfig(fine=4, coarse=4, code=4, width=8, wide=8, pooled=4, hidden=16)


def refiner(trained: bool = True, map_size: int = 13) -> Refiner:
    torch.manual_seed(0)
    network = Refiner(CONFIG, (6, 8, 10), map_size)
    if trained:
        with torch.no_grad():
            for parameter in network.heads.parameters():
                parameter.normal_(0, 0.3)
    return network.eval()


def features(batch: int = 2) -> Features:
    generator = torch.Generator().manual_seed(1)
    shapes = ((6, 8), (8, 4), (10, 2))
    return Features(*(torch.randn(batch, channels, side, side, generator=generator) for channels, side in shapes))


def square(size: int = 13, batch: int = 2, reach: float = 0.6) -> Tensor:
    line = torch.linspace(-reach, reach, size)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).expand(batch, -1, -1, -1)


@pytest.mark.parametrize("map_size", [13, 17, 25, 49])
def test_a_fresh_refiner_changes_nothing(map_size: int) -> None:
    network = refiner(trained=False, map_size=map_size)
    change = network(features(), square(map_size), torch.randn(2, 4, map_size, map_size))
    assert change.shape == (2, 4, map_size, map_size) and not change.any()


def test_only_what_lies_under_a_texel_counts() -> None:
    """Features changed where no texel lies leave the map as it is; the same change under a texel does not."""
    network, places, raw = refiner(), square(reach=0.3), torch.zeros(2, 4, 13, 13)
    plain = features()
    far, near = plain.stride8.clone(), plain.stride8.clone()
    far[:, :, 0, 0] += 10.0
    near[:, :, 4, 4] += 10.0
    same = network(plain, places, raw)
    torch.testing.assert_close(network(plain._replace(stride8=far), places, raw), same)
    assert (network(plain._replace(stride8=near), places, raw) - same).abs().max() > 0.1


def test_a_shifted_map_on_shifted_features_gets_the_same_change() -> None:
    """One cell of stride 8 is two cells' halves of the 8-cell crop: places move by 2 / 8."""
    network, raw, plain = refiner(), torch.zeros(2, 4, 13, 13), features()
    plain = plain._replace(stride16=torch.zeros_like(plain.stride16))
    moved = plain._replace(stride8=plain.stride8.roll(1, dims=3))
    right = square(reach=0.3) + torch.tensor([0.25, 0.0])
    torch.testing.assert_close(network(moved, right, raw), network(plain, square(reach=0.3), raw))


def test_no_gradient_flows_into_the_places_or_the_first_map() -> None:
    places, raw = square().clone().requires_grad_(), torch.randn(2, 4, 13, 13, requires_grad=True)
    network, levels = refiner(), features()
    levels = levels._replace(stride8=levels.stride8.requires_grad_())
    network(levels, places, raw).square().sum().backward()
    assert places.grad is None and raw.grad is None
    assert levels.stride8.grad is not None and levels.stride8.grad.any()


def test_a_map_that_cannot_be_halved_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 n \+ 1 texels along a side, got 15"):
        Refiner(CONFIG, (6, 8, 10), 15)
