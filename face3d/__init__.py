"""From a photo to a textured 3D face."""

from face3d._version import __version__

__all__ = ["__version__"]
