"""How strongly each term of a loss pulls at the identity: by this, not by their values, weights can be balanced.

A term can be large and constant, or small and steep: the census loss of two pictures that agree is 0.16 and not zero.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


@contextmanager
def identity_cut(regressor: nn.Module) -> Iterator[list[Tensor]]:
    """Within, the identity (R, I) that each call of a regressor gives is the beginning of what gradients know, and
    appended to the list. Gradients have to be enabled there; the network's own weights get none by the identity."""
    found: list[Tensor] = []

    def cut(module: nn.Module, given: object, coefficients: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        identity, expression = coefficients
        found.append(identity.detach().requires_grad_())
        return found[-1], expression

    hook = regressor.register_forward_hook(cut)
    try:
        yield found
    finally:
        hook.remove()


def gradient_norms(
    terms: Mapping[str, tuple[Float[Tensor, ""], int]], identity: Float[Tensor, "R I"]
) -> dict[str, float]:
    """Norm of each term's gradient, a standard deviation of identity: the root mean square over its samples.

    terms: a mean over samples, and how many they are. Zero for a term that knows nothing of the identity.
    """
    norms = {}
    for name, (term, samples) in terms.items():
        gradient = None
        if term.requires_grad:
            (gradient,) = torch.autograd.grad(term, identity, retain_graph=True, allow_unused=True)
        norms[name] = 0.0 if gradient is None else samples**0.5 * float(gradient.norm())
    return norms
