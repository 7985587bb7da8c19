"""Does training work? A tiny network learns films of our mesh animator by heart, on a CPU, and is judged.

films -> clips -> training -> videos sampled with each clip's landmarks, and with those of another clip instead

The second is the control: a network that ignores landmarks does equally well in both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ...animators.dit.conditioning import encode_reference
from ...animators.dit.loading import open_networks
from ...animators.dit.networks import Networks
from ...animators.dit.sampling import Sampling, as_frames, decode, denoise, prepare
from ...animators.mesh import MeshAnimator
from ...blendshapes import INDEX
from ...demo import demo_image
from ...errors import InputError
from ...face.geometry import stream_landmarks
from ...face.tracker import MediaPipeTracker
from ...files import new_file
from ...types import Array, Frame, Motion, Portrait
from ...video import write_video
from .clips import FPS, Clip, ClipSettings, draw, read_clips
from .config import DitConfig
from .following import MEASURES, Reader, following, mean_score
from .prepare import prepare_clips
from .report import LOG_FILE, read_log
from .tiny import video_tensor
from .train import Report, train_dit

CUT = slice(0, 192), slice(80, 368)  # of the demo's picture: the head, large enough for pictures of few pixels
FILM_FPS = 24
REPORT_FILE, SHEET_FILE, SCORES_FILE = "report.md", "pictures.png", "scores.json"
SHOWN = 8  # frames of each row of the sheet


@dataclass(frozen=True)
class Demonstration:
    """What is made and judged.

    films, unseen: how many are learned, and how many are only judged by; each gives two clips
    steps:         of sampling
    seeds:         of the noise: each clip is sampled with each
    """

    films: int = 4
    unseen: int = 1
    steps: int = 10
    seeds: tuple[int, ...] = (0, 1)

    def __post_init__(self) -> None:
        if min(self.films, self.unseen, self.steps, len(self.seeds)) < 1:
            raise ValueError("films, unseen, steps and the number of seeds must be at least 1")


class Sampled(NamedTuple):
    """One clip, sampled twice with the same noise: driven by its own landmarks, and by `other`'s."""

    clip: Clip
    other: Clip
    seed: int
    own: list[Frame]
    control: list[Frame]


def demonstrate(
    config: DitConfig,
    out: str | os.PathLike[str],
    settings: Demonstration | None = None,
    *,
    report: Report | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Make films, train `config` on them, judge what is sampled, and write a report into folder `out`.

    report: called after every step with its number and loss
    say:    called with a line about each part of the work that begins

    Returns the path of the report. Raises InputError unless `config` starts from tiny networks; the errors of
    `prepare_clips` and `train_dit`.
    """
    if config.tiny is None:
        raise InputError("the demonstration starts from tiny networks", "give configs/dit_tiny.yaml")
    settings, out = settings or Demonstration(), Path(out)
    frames = ClipSettings(config.tiny.height, config.tiny.width, config.tiny.frames, "frame")
    say("films are drawn and cut into clips")
    learned = _clips(out, "learned", range(settings.films), config.seed, frames)
    unseen = _clips(out, "unseen", range(settings.films, settings.films + settings.unseen), config.seed, frames)
    say(f"training on {len(learned)} clips")
    model = train_dit(config, out / "learned" / "clips", out / "model", report=report)
    say("sampling")
    networks = open_networks(model)
    reader = fit_reader(networks, learned)
    groups = {name: sample_all(networks, clips, settings) for name, clips in (("learned", learned), ("unseen", unseen))}
    scores: dict[str, Any] = {name: judge(reader, samples) for name, samples in groups.items()}
    scores["films"] = {
        name: ceiling(networks, learned, clips) for name, clips in (("learned", learned), ("unseen", unseen))
    }
    _write(out / SCORES_FILE, json.dumps({"settings": asdict(settings), "scores": scores}, indent=1))
    write_sheet(out / SHEET_FILE, [groups["learned"][0], groups["unseen"][0]])
    _write(out / REPORT_FILE, describe(scores, out / "model" / LOG_FILE, len(learned), len(unseen)))
    return out / REPORT_FILE


def _clips(out: Path, name: str, numbers: range, seed: int, settings: ClipSettings) -> list[Clip]:
    films = out / name / "films"
    films.mkdir(parents=True, exist_ok=True)
    if any(not (films / f"{number}.mp4").is_file() for number in numbers):
        portrait = MediaPipeTracker()(np.ascontiguousarray(demo_image()[CUT]))
        for number in numbers:
            length = 2 * (settings.frames - 1) / FPS + 0.2
            film(portrait, length, default_rng((seed, number)), films / f"{number}.mp4")
    prepare_clips(films, out / name / "clips", settings, licence="made of a public domain photo", progress=False)
    return read_clips(out / name / "clips")


def film(portrait: Portrait, seconds: float, rng: Generator, path: Path) -> Path:
    """Write a film of `portrait` opening and shutting its mouth, smiling and moving its head, drawn by the mesh."""
    motion = random_motion(round(seconds * FILM_FPS), rng)
    frames = MeshAnimator()(portrait, motion, stream_landmarks(portrait, motion))
    height, width = portrait.image.shape[:2]
    size, fps = (width, height), Fraction(FILM_FPS)
    return write_video(path, frames, size=size, fps=fps, count=len(motion), sound=None, force=True, progress=False)


def random_motion(frames: int, rng: Generator) -> Motion:
    """Smooth motion in all that the score measures, as large as the mesh animator draws it."""
    motion = Motion.still(frames, FILM_FPS)
    motion.expression[:, INDEX["jawOpen"]] = 0.3 + 0.3 * _wave(frames, rng, 2.5)
    smile = 0.3 + 0.3 * _wave(frames, rng, 1.0)
    motion.expression[:, INDEX["mouthSmileLeft"]] = motion.expression[:, INDEX["mouthSmileRight"]] = smile
    for axis, (turn, shift) in enumerate(((0.08, 0.06), (0.15, 0.05), (0.1, 0.0))):
        motion.rotation[:, axis] = turn * _wave(frames, rng, 1.0)
        motion.translation[:, axis] = shift * _wave(frames, rng, 0.8)
    return motion


def _wave(frames: int, rng: Generator, hertz: float) -> Array:
    """A curve [frames] between -1 and 1 about as fast as `hertz`, never twice the same."""
    time = np.arange(frames) / FILM_FPS
    parts = [np.sin(2 * np.pi * (hertz * share * time + rng.random())) for share in (0.6, 1.0)]
    wave: Array = (0.5 * (parts[0] + parts[1])).astype(np.float32)
    return wave


def sample_all(networks: Networks, clips: Sequence[Clip], settings: Demonstration) -> list[Sampled]:
    """Each clip with each seed, driven by its own landmarks and, as a control, by those of the next clip."""
    return [
        Sampled(
            clip,
            other,
            seed,
            sample(networks, clip, clip.landmarks(), settings.steps, seed),
            sample(networks, clip, other.landmarks(), settings.steps, seed),
        )
        for seed in settings.seeds
        for clip, other in zip(clips, [*clips[1:], clips[0]], strict=True)
    ]


def sample(networks: Networks, clip: Clip, driving: Array, steps: int, seed: int) -> list[Frame]:
    """The driving frames of `clip`'s reference as the network makes them, after landmarks `driving` [frames, 478, 2].

    The reference drawing is the clip's in every case; there is no guidance.
    """
    landmarks = np.concatenate([clip.landmarks()[:1], driving[1:]])
    drawings = draw(landmarks, clip.settings.canvas)
    reference = encode_reference(networks, clip.pictures()[0], clip.face(), drawings[0])
    generator = torch.Generator().manual_seed(seed)
    start = prepare(networks, reference, drawings, generator)
    latents = denoise(networks, start, Sampling(steps=steps, guidance=1.0), generator)
    return list(as_frames(decode(networks.vae, latents)))[1:]  # type: ignore[arg-type]


def judge(reader: Reader, samples: Sequence[Sampled]) -> list[dict[str, Any]]:
    """For each seed: how well the samples follow their clips' landmarks, and how far they are from their pictures.

    own:     driven by the clip's landmarks, against these
    control: driven by another clip's landmarks, against the clip's
    driven:  the same videos against the landmarks that drove them
    error:   root of the mean squared difference from the clip's frames, in grey levels of 255
    """
    results = []
    for seed in dict.fromkeys(each.seed for each in samples):
        some = [each for each in samples if each.seed == seed]
        clip = np.concatenate([each.clip.landmarks()[1:] for each in some])
        other = np.concatenate([each.other.landmarks()[1:] for each in some])
        own = reader([frame for each in some for frame in each.own])
        control = reader([frame for each in some for frame in each.control])
        films = _stack(each.clip.pictures()[1:] for each in some)
        results.append(
            {
                "seed": seed,
                "own": following(own, clip),
                "control": following(control, clip),
                "driven": following(control, other),
                "error": {
                    "own": _difference(_stack(each.own for each in some), films),
                    "control": _difference(_stack(each.control for each in some), films),
                },
            }
        )
    return results


def fit_reader(networks: Networks, clips: Sequence[Clip]) -> Reader:
    """A reader of what the VAE makes of the clips' frames, so that only motion tells samples from films."""
    pictures = [frame for clip in clips for frame in given_back(networks, clip)]
    return Reader.fit(pictures, np.concatenate([clip.landmarks()[1:] for clip in clips]))


def ceiling(networks: Networks, learned: Sequence[Clip], clips: Sequence[Clip]) -> dict[str, Any]:
    """About what a perfect network would reach: the scores of `clips` as the VAE gives them back.

    Each is read by a reader of the clips `learned` without itself.
    """
    made = {clip: given_back(networks, clip) for clip in dict.fromkeys([*learned, *clips])}
    read = []
    for clip in clips:
        others = [each for each in learned if each != clip]
        seen = [frame for each in others for frame in made[each]]
        read.append(Reader.fit(seen, np.concatenate([each.landmarks()[1:] for each in others]))(made[clip]))
    error = _difference(_stack(made[clip] for clip in clips), _stack(clip.pictures()[1:] for clip in clips))
    landmarks = np.concatenate([clip.landmarks()[1:] for clip in clips])
    return {"own": following(np.concatenate(read), landmarks), "error": error}


@torch.no_grad()
def given_back(networks: Networks, clip: Clip) -> list[Frame]:
    """The driving frames of a clip, encoded and decoded."""
    latents = networks.vae.encode(video_tensor(clip.pictures()).to(networks.device)).latent_dist.mode()
    video = (latents * networks.vae.config.scaling_factor).transpose(1, 2)
    return list(as_frames(decode(networks.vae, video)))[1:]  # type: ignore[arg-type]


def _stack(rows: Any) -> NDArray[np.uint8]:
    return np.stack([frame for row in rows for frame in row])


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))


def describe(scores: dict[str, Any], log: Path, learned: int, unseen: int) -> str:
    """The report, in markdown."""
    rows = read_log(log)
    share = max(1, len(rows) // 20)
    first, last = (np.mean([loss for _, _, loss in some]) for some in (rows[:share], rows[-share:]))
    lines = [
        "# A tiny video transformer that learned films by heart",
        "",
        f"Loss: {first:.4f} in the first {share} rows of loss.csv, {last:.4f} in the last {share} (loss.png).",
        "",
        "Following: correlation of the lips' opening, the face's place and its lean, read from pictures by a ridge "
        "regression fitted on the films that were learned, with what the landmarks say. Error: root of the mean "
        "squared difference from the clip's own frames, in grey levels. The control is driven by another clip's "
        "landmarks. (the films): the clips themselves, encoded and decoded by the VAE, each read by a reader of the "
        "other clips.",
        "",
        "| clips | seed | driven by | " + " | ".join(MEASURES) + " | mean | error |",
        "|---" * (5 + len(MEASURES)) + "|",
    ]
    for name, count in (("learned", learned), ("unseen", unseen)):
        best = scores["films"][name]
        lines.append(_row(f"{count} {name}", "-", "(the films)", best["own"], best["error"]))
        for result in scores[name]:
            clips, seed = f"{count} {name}", str(result["seed"])
            lines.append(_row(clips, seed, "own landmarks", result["own"], result["error"]["own"]))
            lines.append(_row(clips, seed, "shuffled: control", result["control"], result["error"]["control"]))
            lines.append(_row(clips, seed, "shuffled, against what drove", result["driven"], None))
    return "\n".join([*lines, ""])


def _row(clips: str, seed: str, driven: str, scores: dict[str, float], error: float | None) -> str:
    values = [*(scores[name] for name in MEASURES), mean_score(scores)]
    cells = [clips, seed, driven, *(f"{value:.2f}" for value in values), "-" if error is None else f"{error:.1f}"]
    return "| " + " | ".join(cells) + " |"


def write_sheet(path: Path, samples: Sequence[Sampled]) -> None:
    """A picture of some samples: a row each for the film, its drawings, and both samples; twice enlarged."""
    from PIL import Image

    rows = []
    for each in samples:
        chosen = np.linspace(0, len(each.own) - 1, SHOWN).round().astype(int)
        for frames in (each.clip.pictures()[1:], each.clip.drawings()[1:], each.own, each.control):
            rows.append(np.concatenate([frames[index] for index in chosen], axis=1))
    sheet = np.concatenate(rows)
    height, width = sheet.shape[:2]
    with new_file(path, force=True) as part:
        Image.fromarray(sheet).resize((2 * width, 2 * height), Image.Resampling.NEAREST).save(part)


def _write(path: Path, text: str) -> None:
    with new_file(path, force=True) as part:
        part.write_text(text, encoding="utf-8")
