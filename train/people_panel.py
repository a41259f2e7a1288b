"""What a pair of frames of one person looks like to each loss, side by side: a row of pictures a sample."""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from face3d.consistency import SwappedPairs
from face3d.flow_adjustment import Flow
from face3d.flow_picture import flow_picture
from face3d.losses_flow import census_distance
from face3d.overlay import draw_mesh
from face3d.parse_labels import CLASS_COLOURS
from train.objective import Parser

FULL_COLOUR_PX = 4.0
"""Flow of this length has the full colour of the wheel, longer flow is darker."""

_NEIGHBOURS = 48  # of the census: the largest distance


@torch.no_grad()
def people_panel(
    pairs: SwappedPairs,
    vertices_px: Float[Tensor, "N V 3"],
    triangles: Int[Tensor, "F 3"],
    flow: Flow | None = None,
    parser: Parser | None = None,
) -> UInt8[np.ndarray, "NH CW 3"]:
    """A row a pair: the frame, its mesh, the frame redrawn with the other's skin, the mask (white: compared), census
    distance in the mask (white: all 48 neighbours), and of the networks that are given: flow to the redrawn picture in
    the mask, classes of the frame and of the redrawn picture.

    vertices_px: of the pairs' frames. Flow and parser see what their losses show them. What is not finite is black.
    """
    frame, swapped, mask = (values.float() for values in pairs[:3])
    photos = _bytes(frame)
    meshes = [
        draw_mesh(photo, vertices_px[at].cpu().numpy(), triangles.cpu().numpy()) for at, photo in enumerate(photos)
    ]
    distance = (census_distance(frame, swapped) / _NEIGHBOURS).nan_to_num(0.0) * mask
    columns = [photos, np.stack(meshes), _bytes(swapped), _bytes(_grey(mask)), _bytes(_grey(distance))]
    shown = torch.where(pairs.mask[:, None], swapped, frame)
    if flow is not None:
        columns.append(_flow_pictures(flow(torch.stack([frame, shown], 1)), pairs.mask))
    if parser is not None:
        columns += [CLASS_COLOURS[parser(pictures).argmax(1).cpu().numpy()] for pictures in (frame, shown)]
    return np.concatenate(np.concatenate(columns, 2))


def _grey(values: Float[Tensor, "N H W"]) -> Float[Tensor, "N 3 H W"]:
    return values[:, None].expand(-1, 3, -1, -1)


def _bytes(pictures: Float[Tensor, "N 3 H W"]) -> UInt8[np.ndarray, "N H W 3"]:
    levels = (255 * pictures.nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)).round().byte()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def _flow_pictures(flow_px: Float[Tensor, "N 2 H W"], mask: Tensor) -> UInt8[np.ndarray, "N H W 3"]:
    flows, valid = flow_px.permute(0, 2, 3, 1).float().cpu().numpy(), mask.cpu().numpy()
    return np.stack([flow_picture(one, FULL_COLOUR_PX, known) for one, known in zip(flows, valid, strict=True)])
