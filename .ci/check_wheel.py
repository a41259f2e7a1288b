"""The wheel holds face3d with every asset, nothing else at the top level, and stays within its size."""

import sys
import zipfile
from pathlib import Path

MAX_ASSET_BYTES = 40_000_000


def check(wheel: Path) -> None:
    """Exit with a message where the wheel is not as it should be."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    foreign = sorted(
        {name.split("/")[0] for name in sizes if not name.startswith("face3d/") and ".dist-info/" not in name}
    )
    if foreign:
        sys.exit(f"{wheel.name} holds more than face3d: {foreign}")
    here = {path.as_posix() for path in Path("face3d").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    if missing := sorted(here - sizes.keys()):
        sys.exit(f"{wheel.name} lacks {missing}")
    total = sum(size for name, size in sizes.items() if name.startswith("face3d/assets/"))
    if total > MAX_ASSET_BYTES:
        sys.exit(f"the assets take {total} bytes, more than {MAX_ASSET_BYTES}")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
