"""Blinks, glances and movements of the head: natural in number, size and speed, led by speech, whatever the pieces."""

import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from talkinghead.blendshapes import BLINK, BROWS, GAZE, INDEX, MOUTH
from talkinghead.motion.articulation import close_lips
from talkinghead.motion.idle import (
    BLINK_SECONDS,
    BLINKS_PER_MINUTE,
    HEAD_DEGREES,
    LOOK_BACK,
    add_idle,
    blinks,
    phrase_blinks,
    phrase_ends,
)
from talkinghead.types import Array, Motion

MINUTES = 10
LONG = MINUTES * 60 * 25
PEOPLE = np.array([3.8, 4.7, 3.3])  # degrees of pitch, yaw, roll: standard deviations on 16 talking clips
SEEDS = range(5)


@pytest.fixture(scope="module")
def idle() -> Motion:
    return add_idle(Motion.still(LONG), seed=0)


@pytest.fixture(scope="module")
def speech() -> Motion:
    return speaking(75)


def speaking(seconds: float) -> Motion:
    """Syllables in phrases of 1.5 to 4 s with pauses of 0.4 to 0.9 s; about one nod of a degree a second."""
    rng = np.random.default_rng(7)
    motion = Motion.still(round(seconds * 25))
    times = np.arange(len(motion)) / 25
    mouth, now = np.zeros(len(motion)), 0.5
    while now < seconds:
        until = now + rng.uniform(1.5, 4)
        inside = (times >= now) & (times < until)
        mouth[inside] = 0.3 + 0.15 * np.sin(2 * np.pi * 4.5 * times[inside])
        for accent in np.arange(now + 0.4, until - 0.3, 1.0):
            bump = np.exp(-0.5 * ((times - accent) / 0.12) ** 2)
            motion.rotation[:, 0] += np.radians(1.0) * bump
            motion.expression[:, INDEX["browInnerUp"]] += 0.1 * bump
        now = until + rng.uniform(0.4, 0.9)
    motion.expression[:, INDEX["jawOpen"]] = mouth
    return motion


def joined(motion: Motion) -> Array:
    return np.concatenate([motion.expression, motion.rotation, motion.translation], axis=1)


def column(motion: Motion, name: str) -> Array:
    return motion.expression[:, INDEX[name]]


@pytest.mark.parametrize("cuts", [(1,), (25, 26), (100, 1000, 7001)])
def test_pieces_are_the_whole(idle: Motion, cuts: tuple[int, ...]) -> None:
    edges = [0, *cuts, LONG]

    pieces = [add_idle(Motion.still(last - first), seed=0, start=first) for first, last in pairwise(edges)]

    assert np.array_equal(np.concatenate([joined(piece) for piece in pieces]), joined(idle))


def test_frames_after_an_hour_are_those_of_the_whole_hour() -> None:
    late = add_idle(Motion.still(2), seed=0, start=90_000)

    assert np.array_equal(joined(late), joined(add_idle(Motion.still(100), seed=0, start=89_950))[50:52])


def test_the_seed_decides(idle: Motion) -> None:
    assert np.array_equal(joined(add_idle(Motion.still(500), seed=0)), joined(idle)[:500])

    other = add_idle(Motion.still(LONG), seed=1)

    assert not np.array_equal(blinks(0, 17, 60), blinks(1, 17, 60))
    for axis in range(3):
        assert abs(np.corrcoef(other.rotation[:, axis], idle.rotation[:, axis])[0, 1]) < 0.2


@pytest.mark.parametrize("rate", [12.0, 17.0, 25.0])
def test_people_blink_12_to_25_times_a_minute(rate: float) -> None:
    count = np.mean([len(blinks(seed, rate, 600)) / 10 for seed in range(20)])

    assert abs(count - rate) < 0.05 * rate


def test_blinks_last_100_to_300_ms_and_come_at_irregular_times() -> None:
    found = np.concatenate([np.diff(blinks(seed, 17, 600)[:, 0]) for seed in range(10)])
    durations = np.concatenate([blinks(seed, 17, 600)[:, 1] for seed in range(10)])

    assert durations.min() >= 0.1
    assert durations.max() <= 0.3
    assert 0.4 < found.std() / found.mean() < 1  # neither a clock (0) nor a Poisson process (1)
    assert 0.05 < (found < 0.45).mean() < 0.15  # double blinks
    assert found.min() > 0.3  # no blink begins before the last one has ended


def test_both_eyes_shut_in_every_blink_faster_than_they_open() -> None:
    fps = 200.0  # fine enough to see a lid move
    motion = add_idle(Motion.still(round(fps) * 120, fps), seed=3)
    left, right = column(motion, "eyeBlinkLeft"), column(motion, "eyeBlinkRight")
    shutting, opening = [], []

    for begin, duration, _ in blinks(3, BLINKS_PER_MINUTE, 119):
        blink = left[round(begin * fps) : round((begin + duration) * fps) + 2]
        shut = np.flatnonzero(blink > 0.95 * blink.max())
        shutting.append(shut[0] / fps)
        opening.append((len(blink) - shut[-1]) / fps)
        assert blink.max() > 0.85

    assert len(shutting) > 20
    assert np.mean(shutting) < 0.75 * np.mean(opening)
    assert np.corrcoef(left, right)[0, 1] > 0.999
    assert (left > 0.05).mean() < 0.1


def test_at_25_frames_a_second_no_blink_falls_between_frames(idle: Motion) -> None:
    for begin, duration, depth in blinks(0, BLINKS_PER_MINUTE, MINUTES * 60 - 1):
        frames = slice(int(begin * 25), int((begin + duration) * 25) + 2)

        assert column(idle, "eyeBlinkLeft")[frames].max() > 0.8 * depth


def test_the_head_drifts_by_degrees_and_slowly(idle: Motion) -> None:
    deviations = np.degrees(idle.rotation.std(axis=0))
    speeds = np.degrees(np.abs(np.diff(idle.rotation, axis=0)) * 25)

    assert np.allclose(deviations, HEAD_DEGREES, rtol=0.15)
    assert speeds.max() < 60  # degrees a second: turning, never jerking
    for axis in range(3):
        power = np.abs(np.fft.rfft(idle.rotation[:, axis] - idle.rotation[:, axis].mean())) ** 2
        median = np.fft.rfftfreq(LONG, 1 / 25)[np.searchsorted(np.cumsum(power), power.sum() / 2)]
        assert 0.2 < median < 0.5


def test_the_head_does_not_wander_off(idle: Motion) -> None:
    minutes = np.degrees(idle.rotation).reshape(MINUTES, -1, 3)

    assert np.abs(minutes.mean(axis=1)).max() < 1.5
    assert np.abs(idle.translation).max() < 0.05


def test_the_clip_begins_in_the_pose_of_the_portrait(idle: Motion) -> None:
    assert not idle.rotation[0].any()
    assert not idle.expression[0].any()
    assert np.degrees(np.abs(np.diff(idle.rotation[:10], axis=0))).max() < 1


def test_both_eyes_look_the_same_way_and_move_in_jumps(idle: Motion) -> None:
    left = column(idle, "eyeLookOutLeft") - column(idle, "eyeLookInLeft")
    right = column(idle, "eyeLookInRight") - column(idle, "eyeLookOutRight")
    moving = np.abs(np.diff(left)) > 1e-4

    assert np.array_equal(left, right)
    assert np.array_equal(column(idle, "eyeLookUpLeft"), column(idle, "eyeLookUpRight"))
    assert 0.03 < left.std() < 0.2
    assert abs(left.mean()) < 0.03
    assert 0.02 < moving.mean() < 0.15  # about one frame in 25: fixation, jump, fixation


def test_no_eye_looks_two_ways_at_once(idle: Motion) -> None:
    for one, other in (("eyeLookOutLeft", "eyeLookInLeft"), ("eyeLookUpRight", "eyeLookDownRight")):
        assert not (column(idle, one) * column(idle, other)).any()


def test_brows_move_a_little(idle: Motion) -> None:
    assert 0.005 < column(idle, "browInnerUp").std() < 0.08
    assert idle.expression[:, list(BROWS)].max() < 0.3


def test_the_mouth_is_left_alone(idle: Motion) -> None:
    assert not idle.expression[:, list(MOUTH)].any()


def test_what_eyes_do_already_is_kept() -> None:
    tracked = Motion.still(2500)
    tracked.expression[:, list(BLINK)] = 0.6
    tracked.expression[:, INDEX["eyeLookOutLeft"]] = 0.3
    tracked.expression[:, INDEX["eyeLookInRight"]] = 0.3

    motion = add_idle(tracked, seed=0)

    assert motion.expression[:, list(BLINK)].min() >= 0.6
    assert motion.expression.max() <= 1
    assert abs(column(motion, "eyeLookOutLeft").mean() - 0.3) < 0.05
    assert np.allclose(tracked.expression[:, list(BLINK)], 0.6)  # the input is not changed


def test_speech_goes_on_under_it() -> None:
    rng = np.random.default_rng(0)
    spoken = Motion(
        rng.uniform(0, 1, (100, 52)).astype(np.float32),
        rng.normal(0, 0.1, (100, 3)).astype(np.float32),
        rng.normal(0, 0.1, (100, 3)).astype(np.float32),
        state="continue here",
    )
    spoken.rotation[:, 0] = 0  # no nods to lead the head
    still = add_idle(Motion.still(100), seed=5)

    motion = add_idle(spoken, seed=5)

    others = [index for index in range(52) if index not in (*BLINK, *GAZE, *BROWS)]
    assert np.array_equal(motion.expression[:, others], spoken.expression[:, others])
    assert np.allclose(motion.rotation - spoken.rotation, still.rotation, atol=1e-6)
    assert motion.state == "continue here"


def test_idle_motion_can_be_switched_off() -> None:
    motion = add_idle(Motion.still(1000), seed=0, blink_rate=0, head_motion=0)

    assert not motion.rotation.any()
    assert not motion.translation.any()
    assert not motion.expression[:, list(BLINK)].any()


def test_head_motion_scales_the_head_alone(idle: Motion) -> None:
    half = add_idle(Motion.still(LONG), seed=0, head_motion=0.5)

    assert np.allclose(half.rotation, 0.5 * idle.rotation, atol=1e-6)
    assert np.array_equal(half.expression, idle.expression)


@pytest.mark.parametrize("fps", [12.0, 24.0, 30000 / 1001, 60.0])
def test_the_frame_rate_changes_nothing_but_the_frames(idle: Motion, fps: float) -> None:
    other = add_idle(Motion.still(round(60 * fps), fps), seed=0)
    times = np.arange(len(other)) / fps

    expected = np.interp(times, np.arange(LONG) / 25, idle.rotation[:, 1])

    assert np.abs(other.rotation[:, 1] - expected).max() < np.radians(0.2)


def test_no_frames_stay_no_frames() -> None:
    assert len(add_idle(Motion.still(0), seed=0)) == 0
    assert len(add_idle(Motion.still(0), seed=0, start=50, before=Motion.still(25))) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"blink_rate": -1},
        {"blink_rate": 100},
        {"blink_rate": float("nan")},
        {"blink_rate": "often"},
        {"head_motion": -1},
        {"start": -1},
        {"seed": -1},
        {"before": Motion.still(5)},
        {"before": Motion.still(5, 30), "start": 5},
    ],
)
def test_impossible_arguments_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        add_idle(Motion.still(5), **{"seed": 0, **wrong})


def test_blink_durations_are_those_promised() -> None:
    assert BLINK_SECONDS[0] >= 0.1
    assert BLINK_SECONDS[1] <= 0.3


@pytest.mark.parametrize("length", [5, 1, 12, 25, 40])
def test_pieces_of_speech_are_the_whole(speech: Motion, length: int) -> None:
    speech = speech[: max(250, 60 * length + 1)]
    whole = add_idle(speech, seed=3)
    edges = [*range(0, len(speech), length), len(speech)]

    pieces = []
    for first, last in pairwise(edges):
        before = speech[max(0, first - round(LOOK_BACK * 25)) : first]
        pieces.append(add_idle(speech[first:last], seed=3, start=first, before=before))

    assert np.array_equal(np.concatenate([joined(piece) for piece in pieces]), joined(whole))


def test_pieces_cut_anywhere_are_the_whole(speech: Motion) -> None:
    rng = np.random.default_rng(0)
    for seed in SEEDS:
        whole = joined(add_idle(speech, seed=seed))
        cuts = rng.choice(np.arange(1, len(speech)), 30, replace=False)
        for first, last in pairwise([0, *sorted(cuts), len(speech)]):
            piece = add_idle(speech[first:last], seed=seed, start=first, before=speech[:first])
            assert np.array_equal(joined(piece), whole[first:last])


def test_a_piece_after_an_hour_is_cheap(speech: Motion) -> None:
    began = time.perf_counter()
    for start in range(90_000, 90_050, 5):
        add_idle(speech[:5], seed=0, start=start, before=speech[:25])

    assert (time.perf_counter() - began) / 10 < 0.1  # seconds for 0.2 s


def test_a_phrase_ends_where_lips_have_been_shut_for_five_frames_after_speech() -> None:
    expression = np.zeros((260, 52), np.float32)
    jaw, sealed = expression[:, INDEX["jawOpen"]], np.zeros(260)
    jaw[10:50] = 0.3  # a phrase
    jaw[90:94] = 0.3  # too short to be one
    jaw[120:160] = 0.3
    sealed[137:141] = 1  # a long p
    jaw[160:] = 0.1  # ready for the next sound, with lips that are shut
    sealed[160:] = 1
    jaw[200:240], sealed[200:240] = 0.03, 0  # lips that part by a millimetre say nothing

    assert phrase_ends(close_lips(expression, sealed), 25).tolist() == [54, 164]
    assert len(phrase_ends(np.zeros((0, 52), np.float32), 25)) == 0
    assert len(phrase_ends(np.zeros((100, 52), np.float32), 25)) == 0


def test_blinks_are_more_likely_after_a_phrase(speech: Motion) -> None:
    after, ends = 0, phrase_ends(speech.expression, 25) / 25
    for seed in range(40):
        at_rest = blinks(seed, BLINKS_PER_MINUTE, speech.duration)
        begins = np.concatenate([at_rest, phrase_blinks(speech, None, at_rest, seed, BLINKS_PER_MINUTE, 0)])[:, 0]
        after += sum(((begins >= end) & (begins < end + 0.2)).any() for end in ends)

    share = after / (40 * len(ends))
    assert len(ends) > 15
    assert 0.3 < share < 0.5  # 0.05 by chance


def test_no_phrase_is_followed_by_two_blinks_at_once(speech: Motion) -> None:
    for seed in range(20):
        at_rest = blinks(seed, BLINKS_PER_MINUTE, speech.duration + 1)
        for begin, duration, depth in phrase_blinks(speech, None, at_rest, seed, BLINKS_PER_MINUTE, 0):
            assert np.abs(at_rest[:, 0] - begin).min() >= 0.7
            assert BLINK_SECONDS[0] <= duration <= BLINK_SECONDS[1]
            assert 0.85 < depth <= 1


def test_people_blink_12_to_25_times_a_minute_in_speech_and_in_silence(speech: Motion) -> None:
    minutes = speech.duration / 60
    silent, spoken = [], []
    for seed in range(20):
        at_rest = blinks(seed, BLINKS_PER_MINUTE, speech.duration)
        silent.append(len(at_rest) / minutes)
        spoken.append(silent[-1] + len(phrase_blinks(speech, None, at_rest, seed, BLINKS_PER_MINUTE, 0)) / minutes)

    assert 12 < np.mean(silent) < 18
    assert 16 < np.mean(spoken) < 25
    assert len(phrase_blinks(speech, None, np.zeros((0, 3)), 0, 0.0, 0)) == 0


def test_the_rate_scales_blinks_after_phrases_too(speech: Motion) -> None:
    none = np.zeros((0, 3))
    counts = [
        sum(len(phrase_blinks(speech, None, none, seed, rate, 0)) for seed in range(40)) for rate in (7.5, 15.0, 30.0)
    ]

    assert counts[0] == pytest.approx(counts[1] / 2, rel=0.2)
    assert counts[2] == pytest.approx(counts[1] * 2, rel=0.2)


def test_heads_that_speak_move_half_to_twice_as_far_as_peoples_with_every_seed(speech: Motion) -> None:
    for seed in SEEDS:
        degrees = np.degrees(add_idle(speech, seed=seed).rotation)

        assert (degrees.std(axis=0) > 0.5 * PEOPLE).all()
        assert (degrees.std(axis=0) < 2 * PEOPLE).all()
        assert np.abs(degrees).max() < 15
        for axis in range(3):
            power = np.abs(np.fft.rfft(degrees[:, axis] - degrees[:, axis].mean())) ** 2
            median = np.fft.rfftfreq(len(degrees), 1 / 25)[np.searchsorted(np.cumsum(power), power.sum() / 2)]
            assert 0.15 < median < 0.8


def test_lips_are_the_same_whatever_the_seed(speech: Motion) -> None:
    for seed in SEEDS:
        lips = add_idle(speech, seed=seed).expression[:, list(MOUTH)]

        assert np.array_equal(lips, speech.expression[:, list(MOUTH)])


def test_the_head_moves_faster_at_accents(speech: Motion) -> None:
    accented = np.abs(np.gradient(speech.rotation[:, 0])) > np.radians(0.1)
    faster = []
    for seed in SEEDS:
        speed = np.linalg.norm(np.gradient(add_idle(speech, seed=seed).rotation, axis=0), axis=1)
        faster.append(speed[accented].mean() / speed[~accented].mean())

    assert accented.mean() < 0.4
    assert min(faster) > 1.3


def test_accents_nod_down_on_average_and_turn_aside_by_the_seed(speech: Motion) -> None:
    nod = speech.rotation[25:, 0].astype(np.float64)
    still = Motion.still(len(speech))
    gains = []
    for seed in range(20):
        led = add_idle(speech, seed=seed).rotation[25:] - add_idle(still, seed=seed).rotation[25:]
        gains.append(nod @ led / (nod @ nod))

    pitch, yaw, roll = np.array(gains).T
    assert 2 < pitch.mean() < 3  # times the nod that was heard
    assert pitch.min() > 1
    assert pitch.std() > 0.1
    for turn in (yaw, roll):
        assert abs(turn.mean()) < 0.3
        assert turn.std() > 0.1


def test_brows_rise_with_speech_differently_for_each_seed(speech: Motion) -> None:
    rises = speech.expression[:, INDEX["browInnerUp"]] > 0.08
    heights = [column(add_idle(speech, seed=seed), "browInnerUp")[rises] for seed in range(10)]

    assert np.std([height.mean() for height in heights]) > 0.005
    assert np.mean([height.std() for height in heights]) > 0.03
    assert 0.1 < np.mean(heights) < 0.2
    assert np.max(heights) <= 1
