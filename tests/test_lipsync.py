"""The judge of lips: distances, loudness, lags, silence, and a real clip."""

import numpy as np
import pytest

from talkinghead.evaluation.lipsync import (
    LAGS,
    Agreement,
    best_common_lag,
    correlation,
    evaluate,
    lip_aperture,
    loudness,
    loudness_envelope,
    mouth_width,
    silence_closure,
    silent_frames,
    table,
)
from talkinghead.face.model import face_model
from talkinghead.types import Array, Speech

from .shared import SHARED, needs_shared


def faces(count: int = 1) -> Array:
    """The neutral face seen from the front: pixels, y down."""
    face = face_model().neutral * np.array([30, -30, -30], np.float32) + 300
    return np.repeat(face[None], count, axis=0)


def syllables(seconds: float) -> Speech:
    """A tone that swells and fades twice a second, and then nothing for as long."""
    times = np.arange(round(seconds * 16000)) / 16000
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * 2 * times)
    spoken = 0.5 * swell * np.sin(2 * np.pi * 200 * times)
    return Speech(np.concatenate([spoken, np.zeros(len(times))]).astype(np.float32))


def test_the_aperture_grows_with_the_gap_and_not_with_size_place_or_tilt() -> None:
    shut, open_ = faces(), faces()
    for landmark in (13, 14):
        shut[:, landmark, 1] = 400
    open_[:, 13, 1], open_[:, 14, 1] = 390, 410
    eyes = np.linalg.norm(open_[0, 33, :2] - open_[0, 263, :2])
    turn = np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]], np.float32)

    assert lip_aperture(shut)[0] == 0
    assert lip_aperture(open_)[0] == pytest.approx(20 / eyes)
    assert lip_aperture(3 * open_ @ turn + 50)[0] == pytest.approx(20 / eyes, rel=1e-4)
    assert mouth_width(3 * open_ @ turn + 50)[0] == pytest.approx(mouth_width(open_)[0], rel=1e-4)


def test_lips_that_overlap_are_shut() -> None:
    crossed = faces()
    crossed[:, 13, 1], crossed[:, 14, 1] = 410, 390

    assert lip_aperture(crossed)[0] == 0


def test_a_smile_widens_the_mouth_and_a_pucker_narrows_it() -> None:
    model = face_model()
    smile, pucker = faces(), faces()
    smile += (model.basis[[43, 44]].sum(axis=0) * np.array([30, -30, -30], np.float32))[None]
    pucker += (model.basis[37] * np.array([30, -30, -30], np.float32))[None]

    assert mouth_width(smile)[0] > mouth_width(faces())[0] > mouth_width(pucker)[0]


def test_loudness_is_in_decibels_and_no_more_than_40_below_the_loudest() -> None:
    speech = Speech(np.repeat(np.array([1.0, 0.1, 0.0], np.float32), 640))

    assert np.allclose(loudness(speech, 3), [0, -20, -40])
    assert np.allclose(loudness(speech, 5)[3:], -40)  # beyond the end of the sound


def test_loudness_of_nothing_is_flat() -> None:
    assert np.ptp(loudness(Speech(np.zeros(16_000, np.float32)), 25)) == 0


def test_a_signal_is_found_at_its_lag() -> None:
    signal = np.random.default_rng(0).standard_normal(200)

    late = np.roll(signal, 3)

    by_lag = [correlation(late, signal, int(lag)) for lag in LAGS]
    assert LAGS[int(np.argmax(by_lag))] == 3
    assert max(by_lag) == pytest.approx(1)
    assert best_common_lag([np.array(by_lag)]) == (3, pytest.approx(1))


def test_what_does_not_move_has_no_correlation() -> None:
    assert np.isnan(correlation(np.ones(50), np.arange(50.0)))
    assert np.isnan(correlation(np.arange(2.0), np.arange(2.0)))


def test_silence_is_found_inside_and_not_at_its_ends() -> None:
    silent = silent_frames(syllables(2), 100)

    assert not silent[:53].any()
    assert silent[53:].all()


def test_a_mouth_that_follows_the_sound_is_shut_in_silence() -> None:
    speech = syllables(2)
    silent = silent_frames(speech, 100)
    follows = loudness_envelope(speech, 100) + 41

    assert silence_closure(follows, silent) < 0.05
    assert silence_closure(np.ones(100), silent) == pytest.approx(1)
    assert np.isnan(silence_closure(follows, np.zeros(100, bool)))


def test_the_table_has_a_row_per_clip_and_the_mean() -> None:
    flat = np.linspace(0, 0.55, len(LAGS))
    rows = [
        Agreement("one", flat, flat, flat / 2, flat / 2, 0.1, 0.9, 0.8),
        Agreement("two", flat, flat, flat / 2, flat / 2, float("nan"), 0.9, 0.8),
    ]

    text = table(rows)

    assert "| one | 0.25 (0.12) | 0.25 (0.12) | 10 % | 0.90 | 0.80 |" in text
    assert "| two | 0.25 (0.12) | 0.25 (0.12) | no silence | 0.90 | 0.80 |" in text
    assert "| mean | 0.25 (0.12)" in text
    assert "r 0.55 at +6 frames" in text


@needs_shared
def test_the_shipped_model_agrees_with_a_real_speaker_better_than_loudness() -> None:
    from talkinghead.face.tracker import MediaPipeTracker
    from talkinghead.pipeline import TalkingHead

    head = TalkingHead.from_pretrained("micro", device="cpu")

    (agreement,) = evaluate([SHARED / "data" / "clips" / "grid_sbia1a.mpg"], head, MediaPipeTracker())

    now = list(LAGS).index(0)
    assert agreement.aperture[now] > agreement.aperture_loudness[now]
    assert agreement.width[now] > 0.4 > agreement.width_loudness[now]
