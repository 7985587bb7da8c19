"""The judge of lips: distances, loudness, lags, silence, and a real clip."""

import numpy as np
import pytest

from talkinghead.evaluation.intervals import correlation
from talkinghead.evaluation.lip_tables import film_tables
from talkinghead.evaluation.lipsync import (
    LAGS,
    MEASURES,
    NOW,
    Agreement,
    Closure,
    Filmed,
    Lips,
    agreement,
    best_common_lag,
    by_lag,
    closure,
    jaw_drop,
    lip_aperture,
    loudness,
    loudness_envelope,
    mouth_width,
    resampled,
    silent_frames,
)
from talkinghead.face.model import face_model
from talkinghead.types import Array, Speech

from .shared import SHARED, needs_shared

WHO = ("ours", "loudness", "frozen", "wrong sound")


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

    found = by_lag(late, signal)

    assert LAGS[int(np.argmax(found))] == 3
    assert found.max() == pytest.approx(1)
    assert best_common_lag([found, np.full(len(LAGS), np.nan)]) == (3, pytest.approx(1))


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
    follows = loudness_envelope(speech, 100)
    follows -= follows.min()

    assert closure(follows, silent) == Closure(1, pytest.approx(0, abs=0.05))
    assert closure(np.ones(100), silent) == Closure(0, pytest.approx(1))
    assert np.isnan(closure(follows, np.zeros(100, bool))).all()


def test_frames_of_another_rate_stand_for_the_same_moments() -> None:
    middles = (np.arange(60) + 0.5) / 30

    assert np.allclose(resampled(middles, 30.0)[1:-1], (np.arange(1, 49) + 0.5) / 25)
    assert len(resampled(middles, 30.0)) == 50


def test_a_jaw_that_drops_takes_the_chin_from_the_nose() -> None:
    dropped = faces()
    dropped += (face_model().basis[24] * np.array([30, -30, -30], np.float32))[None]

    assert jaw_drop(dropped)[0] > jaw_drop(faces())[0]


def lips(signal: np.ndarray) -> Lips:
    return Lips(signal, 1 - signal, 1 + signal)


def filmed(ours: np.ndarray, real: np.ndarray, wrong: np.ndarray) -> Filmed:
    loud, silent = np.arange(len(real), dtype=float), np.arange(len(real)) < 10
    return Filmed("clip", lips(real), lips(ours), (lips(wrong),), ours, (wrong,), loud, silent)


def test_lips_that_move_half_as_far_agree_and_are_half_as_large() -> None:
    real = np.abs(np.random.default_rng(0).standard_normal(200))
    wrong = np.abs(np.random.default_rng(1).standard_normal(200))

    found = agreement(filmed(real / 2, real, wrong))

    for name in MEASURES:
        assert found.ours[name][NOW] == pytest.approx(1)
        assert abs(found.wrong[name][NOW]) < 0.3
    assert found.amplitude["ours"] == found.speed["ours"] == pytest.approx(0.5)
    assert found.amplitude["frozen"] == pytest.approx(0)
    assert found.error["ours"] == pytest.approx(real.mean() / 2)
    assert found.silent == pytest.approx(0.05)


def test_the_tables_have_a_row_per_clip_and_the_mean_with_its_interval() -> None:
    flat = np.linspace(0, 0.55, len(LAGS))
    tracks = [dict.fromkeys(MEASURES, flat), dict.fromkeys(MEASURES, flat / 2), dict.fromkeys(MEASURES, flat / 4)]
    amounts = [dict.fromkeys(WHO, 0.9), dict.fromkeys(WHO, 0.8), dict.fromkeys(WHO, 0.1)]
    shut, unknown = (dict.fromkeys((*WHO, "real"), value) for value in (Closure(0.7, 0.1), Closure(np.nan, np.nan)))
    rows = [Agreement("one", *tracks, *amounts, shut, 0.1), Agreement("two", *tracks, *amounts, unknown, 0.0)]

    text = "\n".join(table.markdown() for table in film_tables(rows))

    assert "| one | 0.25 | 0.12 | 0.25 | 0.12 | 0.25 | 0.12 | 0.55 at +240 ms | 0.90 | 0.80 | 0.70 | 0.10 |" in text
    assert "0.90 | 0.80 | – | – |" in text
    assert "| aperture | 0.25 | 0.12 | 0.06 |" in text
    assert "| aperture | 240 | 0.55 |" in text
    assert "share of frames shut (1 clips) | 0.70" in text


@needs_shared
def test_the_shipped_model_agrees_with_a_real_speaker_better_than_loudness() -> None:
    from talkinghead.evaluation.judge import film_compared
    from talkinghead.evaluation.recordings import read
    from talkinghead.face.tracker import MediaPipeTracker
    from talkinghead.pipeline import TalkingHead

    head = TalkingHead.from_pretrained("micro", device="cpu")
    path = SHARED / "data" / "clips" / "grid_sbia1a.mpg"

    recording, left_out = read("sbia1a", path, head, MediaPipeTracker())
    assert recording is not None
    found = agreement(film_compared(recording, []))

    assert not left_out
    assert found.ours["aperture"][NOW] > found.loud["aperture"][NOW]
    assert found.ours["width"][NOW] > 0.4 > found.loud["width"][NOW]
    assert found.ours["aperture"][NOW] > found.wrong["aperture"][NOW]
