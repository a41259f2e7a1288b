"""The camera of generated clips: tones, defocus, motion blur, sensor noise and JPEG, none of them training's.

Noise is signal-dependent as a sensor's (variance `read^2 + shot * level`), spread over neighbours as demosaicing does,
and drawn before the tone curve; training adds white noise of one strength after its own.
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_LONGEST_BLUR_PX = 4.0


class Camera(NamedTuple):
    """What stays the same in a clip. Levels are 0..255; `shutter` is the part of a frame's motion that blurs it."""

    gain: tuple[float, float, float]  # exposure and white balance a channel
    gamma: float
    defocus_px: float  # standard deviation
    shutter: float
    read_noise: float  # standard deviation, levels
    shot_noise: float  # variance a level
    grain_px: float  # standard deviation of what spreads the noise
    jpeg_quality: int

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Camera":
        """Anything from a good camera to a poor webcam."""
        exposure, balance = rng.uniform(0.85, 1.15), rng.uniform(0.92, 1.08, 3)
        red, green, blue = (exposure * balance).tolist()
        return cls(
            gain=(red, green, blue),
            gamma=rng.uniform(0.85, 1.2),
            defocus_px=rng.uniform(0.0, 1.0),
            shutter=rng.uniform(0.0, 0.2),
            read_noise=rng.uniform(0.5, 4.0),
            shot_noise=rng.uniform(0.02, 0.35),
            grain_px=rng.uniform(0.3, 0.8),
            jpeg_quality=int(rng.integers(40, 96)),
        )

    def take(
        self,
        scene: UInt8[np.ndarray, "H W 3"],
        motion_px: Float[np.ndarray, " 2"],
        rng: np.random.Generator,
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The picture of a scene whose face moves by `motion_px` (x, y) a frame."""
        light = cv2.GaussianBlur(scene.astype(np.float32), (0, 0), max(self.defocus_px, 0.1))
        light = cv2.filter2D(light, -1, line_kernel(self.shutter * motion_px), borderType=cv2.BORDER_REPLICATE)
        grain = cv2.GaussianBlur(rng.standard_normal(scene.shape, np.float32), (0, 0), self.grain_px)
        level = np.clip(light + grain / grain.std() * np.sqrt(self.read_noise**2 + self.shot_noise * light), 0, 255)
        toned = np.array(self.gain, np.float32) * 255.0 * (level / 255.0) ** self.gamma
        return compressed(np.clip(toned + 0.5, 0, 255).astype(np.uint8), self.jpeg_quality)


def line_kernel(motion_px: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "N N"]:
    """Weights of a straight motion (x, y) about the middle, sum 1, bilinear between pixels; 4 px are the longest."""
    length = float(np.linalg.norm(motion_px))
    motion_px = motion_px * min(1.0, _LONGEST_BLUR_PX / max(length, 1e-9))
    radius = int(np.ceil(_LONGEST_BLUR_PX / 2)) + 1
    grid, along = np.arange(-radius, radius + 1), np.linspace(-0.5, 0.5, 17)
    across, down = (np.clip(1.0 - np.abs(grid[:, None] - part * along), 0.0, None) for part in motion_px)
    kernel = down @ across.T
    return kernel / kernel.sum()


def compressed(image: UInt8[np.ndarray, "H W 3"], quality: int) -> UInt8[np.ndarray, "H W 3"]:
    """The picture after JPEG of a quality in 1..100."""
    _, stored = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    seen = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    assert seen is not None
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_BGR2RGB), np.uint8)
