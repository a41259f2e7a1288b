"""What a run tells: a progress bar, lines of JSON in log.jsonl, TensorBoard scalars and pictures."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class Journal:
    """Writer of one run's folder; silent where `active` is False (all processes but the first). A context manager."""

    def __init__(self, out: Path, active: bool = True) -> None:
        self.out, self.active = out, active
        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not active or not console.is_terminal)
        self._bar = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> "Journal":
        if self.active:
            from torch.utils.tensorboard import SummaryWriter

            self.out.mkdir(parents=True, exist_ok=True)
            self._log = (self.out / "log.jsonl").open("a", encoding="utf-8")
            self._board = SummaryWriter(str(self.out / "tensorboard"))
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            self._progress.stop()
            self._log.close()
            self._board.close()

    def scalars(self, step: int, progress: float, group: str, values: Mapping[str, float]) -> None:
        """Log figures of a step under a group's name (train, valid)."""
        if not self.active:
            return
        line: dict[str, Any] = {
            "time": round(time.time(), 1),
            "step": step,
            "group": group,
            "progress": round(progress, 5),
        }
        line |= {name: _short(value) for name, value in values.items()}
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)
        text = "  ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:4])
        self._progress.update(self._bar, completed=progress, description=f"step {step}  {text}")
        if group != "train":
            self.say(f"step {step} {group}: {text}")

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Keep an (H, W, 3) uint8 picture: in TensorBoard, and the latest as <out>/<name>.png."""
        if not self.active:
            return
        from PIL import Image

        self._board.add_image(name, image, step, dataformats="HWC")
        Image.fromarray(image).save(self.out / f"{name}.png")

    def say(self, text: str) -> None:
        """Show a line to whoever watches."""
        if self.active:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
