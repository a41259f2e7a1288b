"""Flow at full resolution from flow at a quarter of it: every pixel a mean of nine coarse ones, with learned weights.

Teed, Deng, "RAFT: Recurrent all-pairs field transforms for optical flow", ECCV 2020, section 3.3; without labels: Stone
et al., "SMURF", CVPR 2021. Where flow breaks at an edge, a pixel takes that of its own side.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

RATIO = 4
_NEIGHBOURS = 9


class ConvexUpsampler(nn.Module):
    """Features and flow of a quarter of the resolution to flow in pixels of the full one; bilinear when fresh."""

    def __init__(self, inputs: int, hidden: int = 48) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.weights = nn.Conv2d(hidden, _NEIGHBOURS * RATIO**2, 1)

    def start_bilinear(self) -> None:
        """The last layer gives bilinear interpolation, to about 1 %, whatever it sees."""
        nn.init.normal_(self.weights.weight, 0, 1e-3)
        assert self.weights.bias is not None
        with torch.no_grad():
            self.weights.bias.copy_((bilinear_weights() + 1e-3).log().flatten())

    def forward(
        self, features: Float[Tensor, "N C h w"], quarter_px: Float[Tensor, "N 2 h w"]
    ) -> Float[Tensor, "N 2 H W"]:
        """H = 4 h, W = 4 w; the coarse flow, in pixels of its own, goes on beyond its border unchanged."""
        logits = self.weights(functional.leaky_relu(self.hidden(features), 0.2)).float()
        planes = logits.contiguous().unflatten(1, (_NEIGHBOURS, RATIO**2))  # channels last: twice the time
        shares = planes.softmax(dim=1).unbind(1)
        padded = functional.pad(RATIO * quarter_px, (1, 1, 1, 1), mode="replicate")
        height, width = quarter_px.shape[-2:]
        around = [padded[:, :, dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
        fine = []
        for axis in range(2):
            total = shares[0] * around[0][:, axis, None]
            for share, flow in zip(shares[1:], around[1:], strict=True):
                total = torch.addcmul(total, share, flow[:, axis, None])
            fine.append(total)
        return functional.pixel_shuffle(torch.cat(fine, dim=1), RATIO)


def bilinear_weights() -> Float[Tensor, "9 16"]:
    """Shares of the nine coarse pixels around (row by row) in the sixteen fine ones of the middle (row by row), by
    bilinear interpolation between pixel centres."""
    places = (torch.arange(RATIO) + 0.5) / RATIO - 0.5  # of the fine pixels about the coarse one's centre
    along = (1 - (places - torch.tensor([[-1.0], [0.0], [1.0]])).abs()).clamp_min(0)  # (3 neighbours, 4)
    return torch.einsum("aj,bk->abjk", along, along).reshape(_NEIGHBOURS, RATIO**2)
