"""How fast this machine draws: medians of repeated runs, beside what a plain resampling of every frame costs.

Times are CPU time of this process and, where video is written, of the encoder, so that other programs disturb little.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .audio import SAMPLE_RATE
from .demo import demo_image, demo_speech
from .face.geometry import stream_landmarks
from .face.landmarks import FACE_OVAL
from .image import ImageSource, load_image
from .pipeline import TalkingHead
from .timing import child_seconds, peak_memory
from .types import Frame, Motion, Portrait, Speech
from .video import write_video

SCENES = {"512 x 512": ((512, 512), None), "1280 x 720": ((1280, 720), 300.0)}  # size, and pixels of the face's height
WARM_UP = 5  # frames drawn before the clock starts: compiling, caches


@dataclass(frozen=True)
class Bench:
    """What was measured: milliseconds of CPU time per frame. `first_frame` includes making the portrait ready.

    cpu, threads: the machine, and how many threads OpenCV and torch may use
    scenes:       {picture size: {"render", "render_encode", "remap", "remap_encode", "first_frame"}}; `remap` is one
                  cubic resampling of the whole frame by OpenCV: no warp can do less with the same quality
    speak:        {"seconds" of speech, "wall" and "cpu" seconds, "real_time_factor", "peak_memory_mb"}
    runs, frames: each time is the median of so many runs, each the mean over so many frames
    """

    cpu: str
    cores: int
    threads: dict[str, int]
    runs: int
    frames: int
    scenes: dict[str, dict[str, float]] = field(default_factory=dict)
    speak: dict[str, float] = field(default_factory=dict)


def run_bench(
    head: TalkingHead,
    image: ImageSource | None = None,
    *,
    runs: int = 5,
    frames: int = 75,
    seconds: float = 30.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measure `head` with the face in `image`, or the demo's.

    seconds:  of speech that `speak` is timed with
    progress: told what is measured next
    """
    import cv2
    import torch

    threads = {"opencv": cv2.getNumThreads(), "torch": torch.get_num_threads()}
    bench = Bench(cpu_model(), usable_cores(), threads, runs, frames)
    picture = demo_image() if image is None else load_image(image)
    portrait = head.portrait(picture)
    motion = head.motion(long_speech((WARM_UP + frames) / 25 + 0.1))
    for name, (size, face) in SCENES.items():
        progress(name)
        bench.scenes[name] = measure(head, staged(head, portrait, size, face), motion, runs, frames)
    progress(f"{seconds:g} s of speech")
    bench.speak.update(timed_speech(head, staged(head, portrait, *SCENES["512 x 512"]), seconds))
    return bench


def measure(head: TalkingHead, portrait: Portrait, motion: Motion, runs: int, frames: int) -> dict[str, float]:
    """The times of one scene."""
    drawn = [np.copy(frame) for frame in islice(rendered(head, portrait, motion), WARM_UP + frames)][WARM_UP:]

    def render() -> float:
        pictures = rendered(head, portrait, motion)
        for _ in islice(pictures, WARM_UP):
            pass
        return cpu_per_frame(lambda: sum(1 for _ in islice(pictures, frames)))

    def first() -> float:
        return cpu_per_frame(lambda: len(list(islice(rendered(head, portrait, motion), 1))))

    def encode() -> float:
        return cpu_per_frame(lambda: written(drawn))

    def remap() -> float:
        pictures = remapped(portrait.image)
        next(pictures)
        return cpu_per_frame(lambda: sum(1 for _ in islice(pictures, frames)))

    render_ms, encode_ms, remap_ms = (median_ms(each, runs) for each in (render, encode, remap))
    return {
        "render": render_ms,
        "render_encode": round(render_ms + encode_ms, 2),
        "remap": remap_ms,
        "remap_encode": round(remap_ms + encode_ms, 2),
        "first_frame": median_ms(first, runs),
    }


def rendered(head: TalkingHead, portrait: Portrait, motion: Motion) -> Iterator[Frame]:
    """The frames that `head` draws, made ready from the beginning."""
    return iter(head.animator(portrait, motion, stream_landmarks(portrait, motion)))


def remapped(image: Frame) -> Iterator[Frame]:
    """`image`, resampled with cubic weights as a whole, without end."""
    import cv2

    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    where = np.dstack([x + 0.3 * np.sin(y / 40), y + 0.3 * np.cos(x / 40)]).astype(np.float32)
    while True:
        yield cv2.remap(image, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def written(frames: list[Frame]) -> int:
    """Write `frames` to a video that is thrown away; how many there were."""
    height, width = frames[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.mp4"
        count = len(frames)
        write_video(path, frames, size=(width, height), fps=Fraction(25), count=count, sound=None, progress=False)
    return count


def cpu_per_frame(work: Callable[[], int]) -> float:
    """CPU seconds, of this process and of programs that it ran, for each of the frames that `work` counts."""
    start = time.process_time() + child_seconds()
    count = work()
    return (time.process_time() + child_seconds() - start) / count


def median_ms(each: Callable[[], float], runs: int) -> float:
    """The median of `runs` times, in milliseconds."""
    return round(1000 * statistics.median(each() for _ in range(runs)), 2)


def timed_speech(head: TalkingHead, portrait: Portrait, seconds: float) -> dict[str, float]:
    """How long `speak` and saving take for so many seconds of speech."""
    speech = long_speech(seconds)
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time() + child_seconds()
        head.speak(portrait, speech).save(Path(folder) / "bench.mp4", progress=False)
        wall, cpu = time.perf_counter() - start, time.process_time() + child_seconds() - cpu
    return {
        "seconds": round(speech.duration, 2),
        "wall": round(wall, 2),
        "cpu": round(cpu, 2),
        "real_time_factor": round(wall / speech.duration, 3),
        "peak_memory_mb": round(peak_memory()),
    }


def staged(head: TalkingHead, portrait: Portrait, size: tuple[int, int], face: float | None) -> Portrait:
    """The face in a picture of `size`: `face` pixels high, or as large as the whole picture allows."""
    import cv2

    height, width = portrait.image.shape[:2]
    oval = portrait.landmarks[list(FACE_OVAL), :2]
    zoom = min(size[0] / width, size[1] / height) if face is None else face / float(np.ptp(oval[:, 1]))
    middle = (np.array([width, height]) - 1) / 2 if face is None else oval.mean(0)
    shift = (np.array(size) - 1) / 2 - zoom * middle
    move = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    image = cv2.warpAffine(portrait.image, move, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)
    landmarks = portrait.landmarks * np.float32(zoom)
    landmarks[:, :2] += shift
    return Portrait(image, landmarks.astype(np.float32))


def long_speech(seconds: float) -> Speech:
    """The demo's sentence, said again and again for so long."""
    sentence = demo_speech().samples
    return Speech(np.resize(sentence, max(1, round(seconds * SAMPLE_RATE))))


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_model() -> str:
    """What the processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table_rows(bench: Bench) -> list[tuple[str, ...]]:
    """The times in words and numbers: one row for each kind, one column for each scene."""
    kinds = {
        "render": "drawing, CPU ms a frame",
        "render_encode": "drawing and encoding, CPU ms",
        "remap": "floor: one cubic remap, CPU ms",
        "remap_encode": "floor: remap and encoding, CPU ms",
        "first_frame": "first frame of a portrait, CPU ms",
    }
    return [(words, *(f"{scene[kind]:.1f}" for scene in bench.scenes.values())) for kind, words in kinds.items()]


def as_plain(bench: Bench) -> dict[str, Any]:
    """The measurements as plain values, for JSON."""
    from dataclasses import asdict

    return asdict(bench)
