"""Fitting articulation to filmed lips: what is measured, what is found again, what is refused."""

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from talkinghead.cli import app
from talkinghead.errors import InputError
from talkinghead.motion.articulation import FITTED, Coarticulation, articulate, lip_gap
from talkinghead.motion.phones import PHONES, VOWELS, Segment
from talkinghead.motion.prosody import Prosody
from talkinghead.training.fit import (
    PRIOR,
    RANGES,
    FilmedLips,
    agreement,
    articulated,
    check_moves,
    fit,
    leave_one_out,
    report,
)
from talkinghead.training.losses import mouth_shape_of_expression

from .shared import SHARED, needs_shared

SPOKEN = replace(PRIOR, reach=0.7, delay=0.02, rounded=0.3, alveolar=0.6, shortest=0.8)


def said(seed: int, phones: int = 40) -> tuple[list[Segment], Prosody]:
    """Random consonants and vowels in turn, and how loud they are."""
    rng = np.random.default_rng(seed)
    consonants = [phone for phone in PHONES[1:] if phone not in VOWELS]
    names = [str(rng.choice(sorted(VOWELS) if number % 2 else consonants)) for number in range(phones)]
    ends = np.cumsum(rng.uniform(0.05, 0.16, phones)) + 0.4
    segments = [(0.0, 0.4, "sil"), *zip([0.4, *ends[:-1].tolist()], ends.tolist(), names, strict=True)]
    frames = int(ends[-1] * 50)
    calm = np.zeros(frames)
    return segments, Prosody(rng.uniform(-6, 4, frames), calm, calm)


def filmed(seed: int, coarticulation: Coarticulation = SPOKEN, fps: float = 25.0) -> FilmedLips:
    """Someone whose lips move exactly as `coarticulation` says."""
    segments, prosody = said(seed)
    frames = int(len(prosody.loudness) * fps / 50)
    clip = FilmedLips(segments, prosody, np.zeros(frames), np.zeros(frames), fps)
    return FilmedLips(segments, prosody, *articulated(clip, coarticulation), fps)


def test_lips_that_move_as_filmed_agree_fully() -> None:
    clip = filmed(0)

    same, other = agreement(clip, SPOKEN), agreement(clip, PRIOR)

    assert same == pytest.approx((1, 1, 1))
    assert other.aperture < 0.98
    assert agreement(clip._replace(aperture=7 * clip.aperture + 3), SPOKEN) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("fps", [25.0, 29.97, 50.0])
def test_the_measures_are_the_gap_and_the_width_of_the_face_model(fps: float) -> None:
    clip = filmed(1, fps=fps)
    expression = articulate(clip.segments, len(clip.prosody.loudness), clip.prosody, coarticulation=SPOKEN)
    gap = np.maximum(lip_gap(expression), 0)
    width = expression @ mouth_shape_of_expression()[:, 1]

    assert clip.aperture.min() >= 0
    if fps == 50:
        assert np.allclose(clip.aperture, gap)
        assert np.allclose(clip.width, width)
    if fps == 25:
        assert np.allclose(clip.width, width[: 2 * len(clip.width)].reshape(-1, 2).mean(axis=1))
    assert np.corrcoef(clip.aperture, gap[np.arange(len(clip.aperture)) * 50 // round(fps)])[0, 1] > 0.8


def test_a_fit_finds_how_someone_speaks_and_uses_it_on_what_was_not_seen() -> None:
    clips, unseen = [filmed(1), filmed(2), filmed(3)], filmed(4)

    found = fit(clips)

    assert agreement(unseen, found).aperture > max(0.985, agreement(unseen, PRIOR).aperture)
    assert found.reach < 0.9
    assert found.rounded < 0.7
    assert all(low <= value <= high for value, (low, high) in zip(astuple(found), RANGES.values(), strict=True))
    assert found == fit(clips)


def test_a_fit_stays_where_there_is_nothing_to_gain() -> None:
    found = fit([filmed(1, PRIOR)])

    assert astuple(found) == pytest.approx(astuple(PRIOR), abs=0.02)


def test_each_clip_is_left_out_once() -> None:
    clips = [filmed(1), filmed(2, PRIOR)]

    without_first, without_second = leave_one_out(clips)

    assert without_first == fit([clips[1]])
    assert without_second == fit([clips[0]])
    with pytest.raises(InputError, match="at least two clips"):
        leave_one_out(clips[:1])


def test_every_parameter_has_a_range_that_holds_what_is_shipped() -> None:
    for coarticulation in (PRIOR, FITTED):
        for value, (low, high) in zip(astuple(coarticulation), RANGES.values(), strict=True):
            assert low <= value <= high
    assert list(RANGES) == list(Coarticulation.__dataclass_fields__)


def test_clips_that_teach_nothing_are_refused() -> None:
    clip = filmed(0)

    with pytest.raises(InputError, match="do not move"):
        check_moves(clip._replace(aperture=np.ones_like(clip.aperture)))
    with pytest.raises(InputError, match="do not move"):
        check_moves(clip._replace(segments=[(0.0, 3.0, "sil")]))
    with pytest.raises(InputError, match="it has 5 frames"):
        check_moves(clip._replace(aperture=clip.aperture[:5], width=clip.width[:5]))
    with pytest.raises(InputError, match="nothing to fit to"):
        fit([])


def test_the_report_tells_each_clip_their_mean_and_every_parameter() -> None:
    text = report({"one": filmed(1), "two": filmed(2)})
    alone = report({"one": filmed(1)})

    rows = {line.split("|")[1].strip(): line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert rows["one"] == rows["two"] == rows["mean"] == rows["clip"] == 10
    assert rows.keys() >= set(RANGES)
    assert "fitted to the others" in text
    assert "fitted to the others" not in alone


@needs_shared
def test_the_command_fits_to_filmed_people_and_tells_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pocketsphinx")
    for path in sorted((SHARED / "data" / "clips").glob("*.mpg"))[:2]:
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "whatever.mpg").symlink_to(path)  # a name that does not tell the words
    (tmp_path / "text.mp4").write_text("not a film")

    done = CliRunner().invoke(app, ["fit-articulation", str(tmp_path)], catch_exceptions=False)

    assert done.exit_code == 0, done.output
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in done.output.splitlines() if "|" in line}
    means = [float(cell) for cell in rows["mean"]]
    assert means[2] > means[0] + 0.005  # aperture: fitted to all, and not fitted
    assert "text is left out" in done.output
    assert "whatever is left out: its words are not known" in done.output
    assert "whatever" not in rows


def test_without_a_film_that_can_be_used_there_is_nothing_to_fit_to(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    (tmp_path / "film.mp4").write_text("not a film")

    done = CliRunner().invoke(app, ["fit-articulation", str(tmp_path / "film.mp4")])

    assert isinstance(done.exception, InputError)
    assert "nothing to fit to" in str(done.exception)
    assert "film is left out" in done.output
