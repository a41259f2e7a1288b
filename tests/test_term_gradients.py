"""Gradients of a loss's terms by the identity, against what they are by hand."""

import pytest
import torch
from torch import Tensor, nn

from train.term_gradients import gradient_norms, identity_cut


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3), requires_grad=False)

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        return given @ self.weight, given.sum(1, keepdim=True)


def test_norms_are_those_of_a_sample() -> None:
    toy, given = Toy(), torch.rand(4, 3)
    with torch.no_grad(), torch.enable_grad(), identity_cut(toy) as found:
        identity, expression = toy(given)
        assert identity is found[0] and identity.is_leaf and not expression.requires_grad
        terms = {
            "linear": ((identity @ torch.tensor([3.0, 4.0, 0.0])).mean(), 4),
            "first_half": (0.5 * identity[:2].square().sum(1).mean(), 2),
            "expression": (expression.mean(), 4),
            "untouched": (torch.ones((), requires_grad=True) * 2, 4),
        }
        norms = gradient_norms(terms, identity)
    assert norms["linear"] == pytest.approx(5.0)
    assert norms["first_half"] == pytest.approx(float(given[:2].square().sum(1).mean().sqrt()))
    assert norms["expression"] == norms["untouched"] == 0.0


def test_the_regressor_is_whole_again() -> None:
    toy = Toy()
    with pytest.raises(RuntimeError, match="inside"), identity_cut(toy):
        raise RuntimeError("inside")
    assert not toy._forward_hooks and not toy(torch.rand(1, 3))[0].requires_grad
