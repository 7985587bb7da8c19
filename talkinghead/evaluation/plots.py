"""Pictures of an evaluation: what mouths did in each clip, and how the figures compare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import SAMPLE_RATE
from ..files import new_file
from ..motion.articulation import GAP_CM
from ..motion.phones import BILABIALS, Segment
from .alignment import import_extra
from .intervals import Interval, Track, mean, reference_scaled
from .judge import Results
from .lip_tables import MS_PER_FRAME, contrasts, groups, joined, sounds
from .lipsync import FPS, LAGS, MEASURES, Agreement, Filmed, loudness_envelope
from .phonetic import Area, PhoneRow, Voiced, articulated, phone_rows
from .recordings import Recording

MOST_CLIPS = 24  # pictures of single clips
MOST_SECONDS = 12.0  # of a clip that are drawn
OURS, REAL, LOUD, WRONG, TARGET = "#0b6fb8", "#222222", "#e08a1e", "#999999", "#3a9a5b"


def plot_all(results: Results, folder: Path) -> list[Path]:
    """Draw everything there is to draw, as PNG files in `folder`.

    Raises TalkingHeadError if matplotlib is not installed, OutputError.
    """
    made: list[Path] = []
    if results.agreements:
        made.append(_save(_lags(results.agreements), folder / "lags.png"))
    if results.voiced:
        made.append(_save(_areas(results.voiced, results.settings.noise), folder / "contrasts.png"))
        made.append(_save(_phones(results.voiced), folder / "phones.png"))
    filmed = {each.name: each for each in results.filmed}
    for number, recording in enumerate(results.recordings[:MOST_CLIPS], 1):
        found = results.alignments.get(recording.name)
        figure = _clip(recording, filmed.get(recording.name), found.segments if found else [])
        name = re.sub(r"[^\w-]+", "_", recording.name)[:60]
        made.append(_save(figure, folder / f"clip-{number:02d}-{name}.png"))
    return made


def _figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure that belongs to no window and no global state, and its axes [rows, columns]."""
    import_extra("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _save(figure: Any, path: Path) -> Path:
    with new_file(path, force=True) as part:
        figure.savefig(part, format="png")
    return path


def _clip(recording: Recording, filmed: Filmed | None, segments: Sequence[Segment]) -> Any:
    """The sound with its phones, and the gap of mouths: ours, the loudness's, and the filmed or articulated one."""
    length = min(len(recording.motion), round(MOST_SECONDS * FPS))
    seconds = length / FPS
    figure, axes = _figure(max(8.0, 1.7 * seconds + 1.5), 5.4, 2, 1, sharex=True, height_ratios=(1, 2.4))
    wave, gaps = axes[:, 0]
    samples = recording.speech.samples[: round(seconds * SAMPLE_RATE)]
    wave.plot(np.arange(len(samples)) / SAMPLE_RATE, samples, color="#666666", linewidth=0.4)
    wave.set_ylim(-1.05 * float(np.abs(samples).max()), 1.6 * float(np.abs(samples).max()))
    wave.set_ylabel("sound")
    wave.set_yticks([])
    wave.set_title(recording.name, loc="left")
    spoken = [segment for segment in segments if segment[0] < seconds and segment[2] != "sil"]
    for number, (start, end, phone) in enumerate(spoken):
        for axis in (wave, gaps):
            axis.axvspan(start, end, color="#f3c6c6" if phone in BILABIALS else "#eeeeee", alpha=0.55, linewidth=0)
            axis.axvline(start, color="white", linewidth=0.8)
        wave.text((start + end) / 2, (0.99, 0.89)[number % 2], phone, transform=wave.get_xaxis_transform(),
                  ha="center", va="top", fontsize=8)  # fmt: skip
    highest = 1.2
    for name, track, style in _mouths(recording, filmed, segments):
        highest = max(highest, 1.05 * float(track[:length].max()))
        times = (np.arange(len(track)) + 0.5) / FPS
        gaps.plot(times[:length], track[:length], label=name, **style)
    gaps.set_ylabel("gap, share of the clip's 95th percentile")
    gaps.set_xlabel("seconds" + (" (p b m are red)" if segments else ""))
    gaps.set_xlim(0, seconds)
    gaps.set_ylim(-0.03, min(highest, 2.5))
    gaps.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _mouths(
    recording: Recording, filmed: Filmed | None, segments: Sequence[Segment]
) -> list[tuple[str, Track, dict[str, Any]]]:
    """The gaps to draw, each as a share of its 95th percentile, with names and styles."""
    frames = len(recording.motion)
    ours = recording.mouth.gap if filmed is None else filmed.ours.aperture
    loud = loudness_envelope(recording.speech, frames)
    drawn = [("loudness", reference_scaled(loud, np.ones(1)), {"color": LOUD, "linewidth": 1.2, "linestyle": ":"})]
    if segments:
        target = articulated(segments, recording.speech, frames)["gap"]
        drawn.append(("articulation of the phones", _scaled(target), {"color": TARGET, "linewidth": 1.2}))
    if filmed is not None:
        drawn.append(("filmed lips", _scaled(filmed.real.aperture), {"color": REAL, "linewidth": 1.8}))
    return [*drawn, ("ours", _scaled(ours), {"color": OURS, "linewidth": 2.0})]


def _scaled(track: Track) -> Track:
    return track / max(float(np.percentile(track, 95)), 1e-9)


def _lags(agreements: Sequence[Agreement]) -> Any:
    """Correlation with the filmed lips over lags: means and intervals over clips."""
    figure, axes = _figure(11, 3.8, 1, len(MEASURES), sharey=True)
    for axis, name in zip(axes[0], MEASURES, strict=True):
        for label, field, colour in (
            ("ours", "ours", OURS),
            ("loudness", "loud", LOUD),
            ("wrong sound", "wrong", WRONG),
        ):
            by_lag = np.array([getattr(each, field)[name] for each in agreements])
            found = [mean(column) for column in by_lag.T]
            milliseconds = LAGS * MS_PER_FRAME
            axis.plot(milliseconds, [one.value for one in found], "o-", color=colour, markersize=3, label=label)
            low, high = [one.low for one in found], [one.high for one in found]
            axis.fill_between(milliseconds, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.set_title(name)
        axis.set_xlabel("lag of what is made, ms")
        axis.axvline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes[0, 0].set_ylabel(f"r with filmed lips, {len(agreements)} clips")
    axes[0, 0].legend(frameon=False)
    return figure


def _areas(voiced: Sequence[Voiced], noise: float | None) -> Any:
    """Areas under ROC curves of the contrasts, with intervals, beside the loudness's."""
    rows = [
        (f"{group}, {sound}" if noise is not None else group, contrasts(some, who))
        for group, some in groups(voiced)
        for who, sound in sounds(some, noise)
    ]
    figure, axes = _figure(4.2 * len(rows[0][1]), 3.4 + 0.5 * len(rows), 1, len(rows[0][1]), sharex=True, sharey=True)
    for axis, areas in zip(axes[0], zip(*(areas for _, areas in rows), strict=True), strict=True):
        _bars(axis, [name for name, _ in rows], areas)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _bars(axis: Any, names: Sequence[str], areas: Sequence[Area]) -> None:
    """One contrast: a group of bars for each of `names`."""
    places = np.arange(len(names))[::-1]
    series = (("ours", OURS, "ours"), ("loudness", LOUD, "loudness"), ("wrong sound", WRONG, "wrong"))
    for offset, (label, colour, field) in enumerate(series):
        found: list[Interval] = [getattr(area, field) for area in areas]
        values = np.array([one.value for one in found])
        errors = np.array([[one.value - one.low, one.high - one.value] for one in found]).T
        at = places + 0.27 * (1 - offset)
        axis.barh(at, values - 0.5, 0.25, left=0.5, color=colour, label=label)
        axis.errorbar(values, at, xerr=np.nan_to_num(errors), fmt="o", color="#333333", markersize=3, elinewidth=1,
                      capsize=2)  # fmt: skip
    for place, area in zip(places, areas, strict=True):
        axis.text(0.99, place + 0.45, f"n = {area.counts[0]} / {area.counts[1]}", fontsize=8, ha="right", va="center",
                  transform=axis.get_yaxis_transform())  # fmt: skip
    axis.set_yticks(places, names)
    if not any(np.isfinite(area.ours.value) for area in areas):
        axis.text(0.5, 0.5, "too few of these phones", transform=axis.transAxes, ha="center")
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(-0.55, len(names) - 0.4)
    axis.axvline(0.5, color="#333333", linewidth=0.8)
    axis.set_title(areas[0].contrast.replace(": ", ":\n"), fontsize=10)
    axis.set_xlabel("area under the ROC curve")


def _phones(voiced: Sequence[Voiced]) -> Any:
    """The gap at each phone: our median and quartiles, the loudness's, the viseme's, and of filmed lips."""
    whos = ["ours", "loudness"] + (["real"] if any("real" in each.mouths for each in voiced) else [])
    rows: list[PhoneRow] = phone_rows({who: joined(voiced, who) for who in whos})
    figure, axes = _figure(max(7.0, 0.36 * len(rows) + 2), 4.4)
    axis = axes[0, 0]
    places = np.arange(len(rows))
    middle = np.array([row.gap for row in rows])
    spread = np.array([[row.gap - row.low, row.high - row.gap] for row in rows]).T
    axis.bar(places, middle, 0.6, color=OURS, alpha=0.75, label="ours: mean gap, quartiles")
    axis.errorbar(places, middle, yerr=spread, fmt="none", ecolor="#333333", elinewidth=1, capsize=2)
    axis.plot(places, [row.least for row in rows], "v", color="#08324f", markersize=5, label="ours: least gap")
    axis.plot(
        places, [row.loudness for row in rows], "_", color=LOUD, markersize=11, markeredgewidth=2.5, label="loudness"
    )
    axis.plot(places, [row.target for row in rows], "D", color=TARGET, markersize=4.5, label="viseme")
    if "real" in whos:
        axis.plot(places, [row.real for row in rows], "o", color=REAL, markersize=5, label="filmed lips")
    axis.set_xticks(places, [f"{row.phone}\n{row.said}" for row in rows], fontsize=9)
    axis.set_xlim(-0.6, len(rows) - 0.4)
    axis.set_ylim(0, None)
    axis.set_ylabel(f"median gap, share of {GAP_CM:g} cm")
    axis.set_xlabel("phone, and how often it was said")
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    return figure
