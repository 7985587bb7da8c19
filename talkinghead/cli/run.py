"""What every command that writes a file does around its work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .options import animator_options, face_choice

if TYPE_CHECKING:
    from ..pipeline import TalkingHead
    from ..timing import Stopwatch
    from ..types import Clip


class Run:
    """One command: its output checked before any work, its stages timed, its result told in one line."""

    def __init__(self, output: Path, force: bool, as_json: bool, *, video: bool = True) -> None:
        from ..timing import Stopwatch
        from ..types import check_new_motion
        from ..video import check_new_video

        (check_new_video if video else check_new_motion)(output, force)
        self.output, self.force, self.as_json = output, force, as_json
        self.started = time.perf_counter()
        self.watch: Stopwatch = Stopwatch()

    def load(
        self,
        model: str,
        *,
        device: str = "auto",
        animator: str | None = None,
        animator_option: list[str] | None = None,
        face: str = "largest",
    ) -> TalkingHead:
        options = animator_options(animator_option)
        with self.watch("load"):
            from ..pipeline import TalkingHead

            head = TalkingHead.from_pretrained(
                model, device=device, animator=animator, animator_options=options, face=face_choice(face)
            )
        return self.watch.timed(head)

    def save(self, clip: Clip, **findings: Any) -> None:
        """Write the clip and tell of it. `findings` go to the JSON line."""
        self.write(clip)
        self.report(len(clip), clip.fps, **findings)

    def write(self, clip: Clip) -> None:
        """Write the clip; what is not drawing in it is the encoder's time."""
        from ..timing import child_seconds

        before = child_seconds()
        with self.watch("write"):
            clip.save(self.output, force=self.force)
        (wall, cpu), (drawn_wall, drawn_cpu) = self.watch.stages["write"], self.watch.stages.get("draw", (0, 0))
        self.watch.stages["write"] = [wall - drawn_wall, cpu - drawn_cpu + child_seconds() - before]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Work that is not the command's own, whose time does not count."""
        began, stages = time.perf_counter(), deepcopy(self.watch.stages)
        yield
        self.watch.stages, self.started = stages, self.started + time.perf_counter() - began

    def report(self, frames: int, fps: float, **findings: Any) -> None:
        from ..timing import peak_memory

        taken, length = time.perf_counter() - self.started, frames / fps
        if not self.as_json:
            typer.echo(f"{self.output}: {frames} frames, {length:.2f} s, made in {taken:.1f} s")
            return
        line: dict[str, Any] = {
            "output": str(self.output),
            "frames": frames,
            "fps": fps,
            "seconds": round(length, 3),
            "wall": round(taken, 3),
            "real_time_factor": round(taken / length, 3) if length else None,
            "stages": self.watch.report(),
            "peak_memory_mb": round(peak_memory()),
            **findings,
        }
        typer.echo(json.dumps(line))
