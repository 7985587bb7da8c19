"""The tables of an evaluation, and the files it is written to."""

from __future__ import annotations

import json
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputNotWritable
from ..files import check_new_file, new_file
from .dynamics import ANGLES
from .intervals import NAN, mean
from .judge import Results
from .lip_tables import MS_PER_FRAME, SOURCES, film_tables, phone_tables
from .lipsync import LAGS, MEASURES
from .synthetic import CHANNELS, SPLITS
from .tables import Cell, Table, plain

REPORT, FIGURES = "report.md", "report.json"


def tables(results: Results) -> list[Table]:
    """All tables that there is something to say in."""
    found = [*film_tables(results.agreements), *phone_tables(results.voiced, results.settings.noise)]
    found += [*synthetic_tables(results), *idle_tables(results), *left_out_tables(results)]
    return [table for table in found if table.rows]


def markdown(results: Results) -> str:
    """The whole report."""
    settings = results.settings
    speech = sum(recording.speech.duration for recording in results.recordings)
    words = [found.source for found in results.alignments.values()]
    counts = ", ".join(f"{words.count(source)} {name}" for source, name in SOURCES.items() if source in words)
    lines = [
        f"## Evaluation of {settings.model}",
        "",
        f"talkinghead {version('talkinghead')}; {len(results.recordings)} recordings, {speech:.0f} s of speech, "
        f"{len(results.filmed)} of them filmed; phones: {counts or 'none'}. "
        "In brackets: 95 % bootstrap intervals, over clips or, for AUCs and shares of phones, over phones.",
    ]
    return "\n\n".join(["\n".join(lines), *(table.markdown() for table in tables(results))]) + "\n"


def figures(results: Results) -> dict[str, Any]:
    """All figures as plain values: tables by their keys, rows by column; what is not known is None."""
    settings = results.settings
    return {
        "talkinghead": version("talkinghead"),
        "model": settings.model,
        "corpus": None if settings.corpus is None else str(settings.corpus),
        "seeds": settings.seeds,
        "noise_decibels": settings.noise,
        "minutes": settings.minutes,
        "recordings": [
            {
                "name": recording.name,
                "seconds": round(recording.speech.duration, 3),
                "filmed": recording.film is not None,
                "phones": found.source if (found := results.alignments.get(recording.name)) else None,
                "words": found.words if found else None,
            }
            for recording in results.recordings
        ],
        "tables": {table.key: table.plain() for table in tables(results)},
        "by_lag": {
            each.name: {
                name: {
                    who: [plain(float(r)) for r in getattr(each, field)[name]]
                    for who, field in (("ours", "ours"), ("loudness", "loud"), ("wrong sound", "wrong"))
                }
                for name in MEASURES
            }
            for each in results.agreements
        },
        "lags_ms": [int(lag) * MS_PER_FRAME for lag in LAGS],
    }


def check_new_report(folder: str | PathLike[str], force: bool = False) -> Path:
    """The folder a report will be written to, made if it is missing.

    Raises OutputExists unless `force`, OutputNotWritable.
    """
    out = Path(folder)
    if out.exists() and not out.is_dir():
        raise OutputNotWritable(f"{out}: is a file, not a folder", "give the name of a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(f"{out}: cannot be made: {error.strerror}", "choose another folder") from error
    for name in (REPORT, FIGURES):
        check_new_file(out / name, force)
    return out


def write_report(results: Results, folder: str | PathLike[str], *, force: bool = False) -> Path:
    """Write report.md, report.json and the plots to `folder`.

    Raises OutputExists unless `force`, OutputError; TalkingHeadError if matplotlib is not installed.
    """
    from .plots import plot_all

    out = check_new_report(folder, force)
    pictures = plot_all(results, out)
    shown = "".join(f"\n![{path.stem}]({path.name})\n" for path in pictures)
    for name, content in (
        (REPORT, markdown(results) + shown),
        (FIGURES, json.dumps(figures(results), indent=1, ensure_ascii=False)),
    ):
        with new_file(out / name, force=force) as part:
            part.write_text(content, "utf-8")
    return out


def synthetic_tables(results: Results) -> list[Table]:
    """What is measured on synthesised speech."""
    scores = results.synthetic
    rows: list[tuple[Cell, ...]] = []
    baselines: list[tuple[Cell, ...]] = []
    for split in SPLITS:
        some = [score for score in scores if score.split == split]
        for score in some:
            voice: tuple[Cell, ...] = score.voice, split, score.clips
            rows.append((*voice, *(score.ours[name] for name in CHANNELS), score.speed))
            others = (side[name].value for name in CHANNELS for side in (score.loudness, score.wrong))
            baselines.append((*voice[:2], *others))
        if len(some) > 1:
            means = (mean([score.ours[name].value for score in some]) for name in CHANNELS)
            speed = mean([score.speed.value for score in some])
            rows.append((f"mean of {len(some)} voices", split, sum(score.clips for score in some), *means, speed))
    note = (
        "Free-running from rest, against the targets of the corpus; frames of all clips together, clips resampled, and "
        "for the mean voices."
    )
    columns = "voice", "split", "clips", *(f"{name} r" for name in CHANNELS), "gap speed / target"
    sides = (f"{name} r, {who}" for name in CHANNELS for who in ("loudness", "wrong sound"))
    return [
        Table("synthetic", "Synthetic speech not trained on", columns, rows, note),
        Table("synthetic_baselines", "Synthetic speech: baselines", ("voice", "split", *sides), baselines),
    ]


def idle_tables(results: Results) -> list[Table]:
    """What changes with the seed, and with time."""
    return [*_idle_table(results), *_endurance_table(results)]


def _idle_table(results: Results) -> list[Table]:
    found, people = results.dynamics, np.array(results.people)
    if found is None:
        return []
    durations = found.durations * 1000

    def duration(share: float) -> float:
        return float(np.quantile(durations, share)) if len(durations) else NAN

    rows: list[tuple[Cell, ...]] = [
        ("blinks a minute", mean(found.blinks / found.minutes), NAN, "12 to 25"),
        ("blink duration, ms: median", duration(0.5), NAN, "100 to 300"),
        ("blink duration, ms: 5 %", duration(0.05), NAN, "100"),
        ("blink duration, ms: 95 %", duration(0.95), NAN, "300"),
    ]
    references = ("3.8 (reading GRID: 0.9)", "4.7 (0.4)", "3.3 (0.3)"), ("23", "21", "13")
    kinds = (found.angles, "SD, degrees"), (found.speeds, "speed SD, degrees a second")
    for kind, (seeds, unit) in enumerate(kinds):
        for axis, angle in enumerate(ANGLES):
            filmed: Cell = mean(people[:, kind, axis]) if len(people) else NAN
            rows.append((f"head {angle} {unit}", mean(seeds[:, axis]), filmed, references[kind][axis]))
    rows.append(("head r between seeds", found.alike, NAN, "near 0"))
    rows.append(("lips: largest difference between seeds", found.lips, NAN, "0"))
    note = (
        f"Motion with idle movement: {len(found.blinks)} seeds, {found.minutes:.1f} minutes each; intervals over "
        "seeds. *People*: 16 talking clips, tracked, so with the tracker's jitter; blinks from the literature. Short "
        "clips, as of the people filmed here, hold less of slow movement."
    )
    return [Table("idle", "Blinks and head", ("measure", "ours", "people filmed here", "people"), rows, note)]


def _endurance_table(results: Results) -> list[Table]:
    run = results.endurance
    if run is None:
        return []
    rows: list[tuple[Cell, ...]] = []
    for name, first in run.first.items():
        rows.append((name, f"{first:.4f}", f"{run.last[name]:.4f}", run.last[name] / first if first else NAN))
    rows.append(("processor seconds a minute", run.one_minute, run.one_minute * run.growth, run.growth))
    rows.append(("times real time, hearing", NAN, 60 * run.minutes / max(run.hearing, 1e-9), NAN))
    rows.append(("times real time, moving", NAN, 60 * run.minutes / max(run.moving, 1e-9), NAN))
    rows.append(("times real time, both", 60 / run.one_minute, run.times_real_time, NAN))
    columns = "measure", "minute 1", f"minute {run.minutes}", "ratio"
    note = "The same minute of speech over and over, free-running, on one thread, without idle movement. "
    note += "Processor times are of a run of one minute, and of the whole run."
    return [Table("endurance", "Long run", columns, rows, note)]


def left_out_tables(results: Results) -> list[Table]:
    """What could not be measured, and why."""
    rows: list[tuple[Cell, ...]] = [(item.name, item.part, item.reason) for item in results.left_out]
    rows += [(name, "words", found.note) for name, found in results.alignments.items() if found.note]
    return [Table("left_out", "Left out", ("file", "what", "why"), rows)]
