"""The frames of clips as photos of their own, so that predictions of them can be exported, or come from any system."""

from collections.abc import Iterator

from eval.clips import Clip, Clips
from eval.protocol import Sample


class ClipFrames:
    """All frames of some clips; the name tells how many a clip has, for other frames are other pictures."""

    def __init__(self, clips: Clips, frames: int) -> None:
        self.clips, self.name = clips, f"{clips.name}, {frames} frames"

    def samples(self) -> Iterator[Sample]:
        """Clip by clip, each drawn when it is reached."""
        for index in range(self.clips.count):
            yield from frames_of(self.clips.clip(index))


def frames_of(clip: Clip) -> Iterator[Sample]:
    """The frames in order, each with its true box; the truth is the clip's."""
    for index, (image, box_px) in enumerate(zip(clip.images, clip.boxes_px, strict=True)):
        yield Sample(f"{clip.name} frame {index:03d}", image, box_px, None)
