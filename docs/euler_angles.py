"""Draw docs/euler_angles.png: what pitch, yaw and roll do to a face. Run `python docs/euler_angles.py [MODEL.npz]`."""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from face3d.camera import project
from face3d.checkpoint import asset_path
from face3d.geometry import rotation_from_euler_deg
from face3d.io import png_bytes
from face3d.morphable import MorphableModel
from face3d.overlay import draw_mesh, fade_out
from face3d.types import ScaledOrthography

OUTPUT = Path(__file__).with_suffix(".png")
ANGLES_DEG = (-40, -20, 0, 20, 40)
TILE_PX = 200
PX_PER_MM = 0.74
BACKGROUND = (250, 250, 252)
INK = (60, 64, 72)
LABEL_PX = 86


def tile(model: MorphableModel, euler_deg: tuple[float, float, float]) -> np.ndarray:
    """The mean face at (pitch, yaw, roll)."""
    centre_mm = model.landmarks_of(model.mean[None])[0].mean(dim=0) - torch.tensor([0.0, 0.0, 45.0])
    pose = ScaledOrthography(
        rotation_from_euler_deg(torch.tensor([euler_deg])),
        torch.tensor([PX_PER_MM]),
        torch.full((1, 2), (TILE_PX - 1) / 2),
    )
    vertices_px = project(model.mean[None] - centre_mm, pose)[0].numpy()
    opacity = fade_out(model.mean.numpy(), model.landmarks_of(model.mean[None])[0].numpy())
    photo = np.full((TILE_PX, TILE_PX, 3), BACKGROUND, np.uint8)
    return draw_mesh(photo, vertices_px, model.triangles.numpy().astype(np.int32), opacity)


def write(picture: np.ndarray, text: str, centre: tuple[int, int], size: float = 0.5) -> None:
    """Text centred at (x, y)."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    origin = (centre[0] - width // 2, centre[1] + height // 2)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1, cv2.LINE_AA)


def main() -> None:
    """Rows: pitch, yaw, roll; columns: ANGLES_DEG; the other two angles are 0."""
    model = MorphableModel.load(sys.argv[1] if len(sys.argv) > 1 else asset_path("face3d_model.npz"))
    size = (3 * TILE_PX + 40, LABEL_PX + len(ANGLES_DEG) * TILE_PX, 3)
    picture = np.full(size, BACKGROUND, np.uint8)
    for row, name in enumerate(("pitch", "yaw", "roll")):
        write(picture, name, (LABEL_PX // 2, 40 + row * TILE_PX + TILE_PX // 2), 0.6)
        for column, angle in enumerate(ANGLES_DEG):
            euler_deg = [0.0, 0.0, 0.0]
            euler_deg[row] = float(angle)
            top, left = 40 + row * TILE_PX, LABEL_PX + column * TILE_PX
            picture[top : top + TILE_PX, left : left + TILE_PX] = tile(
                model, (euler_deg[0], euler_deg[1], euler_deg[2])
            )
    for column, angle in enumerate(ANGLES_DEG):
        write(picture, f"{angle:+d} deg" if angle else "0", (LABEL_PX + column * TILE_PX + TILE_PX // 2, 22))
    OUTPUT.write_bytes(png_bytes(picture))


if __name__ == "__main__":
    main()
