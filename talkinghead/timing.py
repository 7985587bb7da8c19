"""Where the time goes: parts wrapped so that each call, or each frame, is timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from .pipeline import TalkingHead


@dataclass
class Stopwatch:
    """Seconds by stage: {stage: [wall, CPU]}. CPU counts all threads of this process."""

    stages: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a block to `stage`."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            spent = self.stages.setdefault(stage, [0.0, 0.0])
            spent[0] += time.perf_counter() - wall
            spent[1] += time.process_time() - cpu

    def timed(self, head: TalkingHead) -> TalkingHead:
        """`head` with its parts under this watch."""
        return replace(
            head,
            face_tracker=_TimedTracker(head.face_tracker, "face", self),
            audio_encoder=_Timed(head.audio_encoder, "hear", self),
            motion_generator=_Timed(head.motion_generator, "move", self),
            animator=_TimedAnimator(head.animator, "draw", self),
        )

    def report(self) -> dict[str, dict[str, float]]:
        """{stage: {"wall": seconds, "cpu": seconds}}, rounded to milliseconds."""
        return {name: {"wall": round(wall, 3), "cpu": round(cpu, 3)} for name, (wall, cpu) in self.stages.items()}


class _Timed:
    """A part whose calls are timed; everything else about it is its own."""

    def __init__(self, part: Any, stage: str, watch: Stopwatch) -> None:
        self._part, self._stage, self._watch = part, stage, watch

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        with self._watch(self._stage):
            return self._part(*inputs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)


class _TimedTracker(_Timed):
    """Finding a face in a picture, and following one through a video."""

    def everyone(self, image: Any) -> Any:
        with self._watch(self._stage):
            return self._part.everyone(image)

    def track(self, video: Any) -> Any:
        with self._watch("track"):
            return self._part.track(video)

    def sight(self, video: Any) -> Any:
        with self._watch("track"):
            return list(self._part.sight(video))


class _TimedAnimator(_Timed):
    """Frames are drawn one by one as they are asked for, so each is timed."""

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        frames = iter(self._part(*inputs, **options))
        while True:
            with self._watch(self._stage):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._part, name)
        if name != "redrawer":
            return part
        return lambda *inputs: _Timed(part(*inputs), self._stage, self._watch)


def peak_memory() -> float:
    """The most memory this process has held so far, in megabytes; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:  # it is of POSIX alone
        return 0.0
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (1 << 20) if sys.platform == "darwin" else held / 1024  # bytes on macOS, kilobytes elsewhere


def child_seconds() -> float:
    """CPU seconds of finished child processes: the video encoder; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0.0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
