import contextlib
import os
import zipfile
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from talkinghead import AudioTooLong, Clip, Motion, MotionUnreadable, OutputExists, OutputNotWritable, Portrait, Speech
from talkinghead.blendshapes import INDEX, NAMES
from talkinghead.types import MOST_MOTION, Frame, exact_rate, frame_count


def some_motion(frames: int = 10, fps: float = 25.0) -> Motion:
    rng = np.random.default_rng(0)
    shape = {"expression": 52, "rotation": 3, "translation": 3}
    tracks = {name: rng.uniform(0, 0.5, (frames, width)).astype(np.float32) for name, width in shape.items()}
    return Motion(**tracks, fps=fps)


def test_motion_of_the_wrong_shape_says_which_shape_it_wants() -> None:
    still = np.zeros((10, 3), np.float32)

    with pytest.raises(ValueError, match=r"expression must have shape \[any, 52\], not \[10, 51\]"):
        Motion(np.zeros((10, 51), np.float32), still, still)
    with pytest.raises(ValueError, match=r"rotation must have shape \[9, 3\], not \[10, 3\]"):
        Motion(np.zeros((9, 52), np.float32), still, still)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_motion_must_be_finite(bad: float) -> None:
    expression = np.full((2, 52), bad, np.float32)

    with pytest.raises(ValueError, match="must be finite"):
        Motion(expression, np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))


def test_motion_in_percent_is_refused() -> None:
    still = np.zeros((2, 3), np.float32)

    with pytest.raises(ValueError, match="percent"):
        Motion(np.full((2, 52), 80, np.float32), still, still)


def test_motion_of_other_types_is_refused() -> None:
    with pytest.raises(TypeError, match="expression must be a NumPy array of float32, not array of float64"):
        Motion(np.zeros((2, 52)), np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not list"):
        Speech([0.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(60))
def test_a_motion_file_with_a_flipped_byte_is_refused_or_read(seed: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    some_motion().save(tmp_path / "m.npz")
    content = bytearray((tmp_path / "m.npz").read_bytes())
    rng = np.random.default_rng(seed)
    content[rng.integers(len(content))] ^= rng.integers(1, 256)
    (tmp_path / "m.npz").write_bytes(content)

    with contextlib.suppress(MotionUnreadable):
        assert len(Motion.load(tmp_path / "m.npz")) == 10


def test_a_pipe_is_no_motion_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(tmp_path / "m.npz")

    with pytest.raises(MotionUnreadable, match="not a regular file"):
        Motion.load(tmp_path / "m.npz")


def test_a_motion_file_is_named_npz(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OutputNotWritable, match=r"\.npz"):
        some_motion().save(tmp_path / "m.mp4")


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_motion_needs_a_frame_rate(fps: float) -> None:
    with pytest.raises(ValueError, match="fps must be 1 to 1000"):
        Motion.still(3, fps)


def test_slices_of_motion_are_motion() -> None:
    motion = some_motion()

    part = motion[2:5]

    assert len(part) == 3
    assert part.fps == motion.fps
    np.testing.assert_array_equal(part.expression, motion.expression[2:5])
    with pytest.raises(ValueError, match="step 1"):
        motion[::2]
    with pytest.raises(TypeError, match="slice"):
        motion[3]  # type: ignore[index]


@pytest.mark.parametrize("fps", [12.0, 24.0, 30000 / 1001, 50.0])
def test_resampling_keeps_the_duration_and_the_ends(fps: float) -> None:
    motion = some_motion(50)

    other = motion.resample(fps)

    assert abs(other.duration - motion.duration) <= 1 / fps
    np.testing.assert_allclose(other.expression[0], motion.expression[0])
    assert motion.resample(25.0) is motion
    assert len(motion.resample(fps, frames=7)) == 7


def test_motion_survives_saving(tmp_path) -> None:  # type: ignore[no-untyped-def]
    motion = some_motion(fps=30000 / 1001)

    motion.save(tmp_path / "m.npz")
    loaded = Motion.load(tmp_path / "m.npz")

    np.testing.assert_array_equal(loaded.expression, motion.expression)
    np.testing.assert_array_equal(loaded.rotation, motion.rotation)
    assert loaded.fps == motion.fps
    with np.load(tmp_path / "m.npz") as arrays:
        assert set(arrays.files) == {"expression", "names", "rotation", "translation", "fps"}
    with pytest.raises(OutputExists):
        motion.save(tmp_path / "m.npz")


def test_loading_puts_columns_in_order_by_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    names = list(reversed(NAMES))
    expression = np.zeros((1, 52), np.float32)
    expression[0, names.index("jawOpen")] = 1
    still = np.zeros((1, 3), np.float32)
    np.savez(tmp_path / "m.npz", expression=expression, names=names, rotation=still, translation=still, fps=25.0)

    assert Motion.load(tmp_path / "m.npz").expression[0, INDEX["jawOpen"]] == 1


def test_bad_motion_files_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    still = np.zeros((1, 3), np.float32)
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    np.savez(tmp_path / "lacking.npz", expression=np.zeros((1, 52)), names=NAMES)
    rest = {"rotation": still, "translation": still, "fps": 25.0}
    np.savez(tmp_path / "names.npz", expression=np.zeros((1, 52)), names=["x"] * 52, **rest)
    np.savez(tmp_path / "pickle.npz", expression=np.array([{}]), names=NAMES, **rest)
    whole = tmp_path / "whole.npz"
    some_motion().save(whole)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:500])

    for name in ("text", "empty", "lacking", "names", "pickle", "cut", "missing"):
        with pytest.raises(MotionUnreadable, match=rf"{name}\.npz") as error:
            Motion.load(tmp_path / f"{name}.npz")
        assert error.value.hint


def test_a_motion_file_that_unpacks_to_too_much_is_not_unpacked(tmp_path) -> None:  # type: ignore[no-untyped-def]
    some_motion().save(tmp_path / "m.npz")
    packed = zipfile.ZipFile(tmp_path / "m.npz", "a", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("more.npy", "w") as record:
        for _ in range(257):
            record.write(bytes(1 << 20))
    assert (tmp_path / "m.npz").stat().st_size < 300_000

    with pytest.raises(MotionUnreadable, match=r"it unpacks to 269,.* more than the 268,435,456 that are accepted"):
        Motion.load(tmp_path / "m.npz")


def test_hours_of_motion_may_be_loaded() -> None:
    one = some_motion(1)
    frame = one.expression.nbytes + one.rotation.nbytes + one.translation.nbytes

    assert 5 * 3600 * 60 * frame < MOST_MOTION
    assert 2 * 3600 * 60 * 2 * frame < MOST_MOTION  # of float64


def test_a_portrait_is_checked() -> None:
    image = np.zeros((4, 4, 3), np.uint8)

    with pytest.raises(ValueError, match=r"landmarks must have shape \[478, 3\]"):
        Portrait(image, np.zeros((468, 3), np.float32))
    with pytest.raises(ValueError, match="landmarks must be finite"):
        Portrait(image, np.full((478, 3), np.nan, np.float32))


def test_landmarks_in_0_to_1_or_off_the_picture_are_refused() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    landmarks = np.random.default_rng(0).uniform(0, 1, (478, 3)).astype(np.float32)

    with pytest.raises(ValueError, match="in 0 to 1"):
        Portrait(image, landmarks)
    with pytest.raises(ValueError, match="none of them does"):
        Portrait(image, landmarks * 50 + np.float32(500))


def test_speech_in_integers_units_is_refused() -> None:
    with pytest.raises(ValueError, match="reach 20000"):
        Speech(np.full(100, 20_000, np.float32))


@pytest.mark.parametrize(("drawn", "words"), [(2, "only 2 of 3"), (4, "more than 3")])
def test_a_clip_holds_its_animator_to_the_number_of_frames(drawn: int, words: str) -> None:
    clip = Clip(lambda: iter([np.zeros((2, 4, 3), np.uint8)] * drawn), 3, (4, 2), 25.0)

    with pytest.raises(ValueError, match=words):
        list(clip)


def test_a_clip_draws_only_when_asked() -> None:
    drawn = []

    def draw() -> Iterator[Frame]:
        for index in range(3):
            drawn.append(index)
            yield np.full((2, 4, 3), index, np.uint8)

    clip = Clip(draw, 3, (4, 2), 25.0)
    assert drawn == []
    assert len(clip) == 3
    next(iter(clip))
    assert drawn == [0]
    assert clip.frames.shape == (3, 2, 4, 3)
    assert clip.frames[2, 0, 0, 0] == 2


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"),
    [("2.2", 25.0, 55), ("0.04", 25.0, 1), ("0.0401", 25.0, 2), ("1", 30000 / 1001, 30), ("10", 12.0, 120)],
)
def test_frames_are_counted_exactly(seconds: str, fps: float, frames: int) -> None:
    assert frame_count(Fraction(seconds), fps) == frames


def test_common_frame_rates_are_exact_fractions() -> None:
    assert exact_rate(30000 / 1001) == Fraction(30000, 1001)
    assert exact_rate(24000 / 1001) == Fraction(24000, 1001)
    assert exact_rate(25.0) == 25


def test_speech_is_as_long_as_the_sound_it_came_from() -> None:
    speech = Speech.of((44_100, np.sin(np.arange(44_101) / 20).astype(np.float32) / 2))

    assert speech.seconds == Fraction(44_101, 44_100)
    assert speech.frames(25) == 26
    assert speech.samples.dtype == np.float32


def test_the_options_of_a_sound_hold_for_a_speech_too() -> None:
    speech = Speech(np.zeros(32_000, np.float32))
    longer = Speech.of((44_100, np.sin(np.arange(88_201) / 20).astype(np.float32) / 2))

    assert Speech.of(speech, max_duration=2, strict=True) is speech
    with pytest.raises(TypeError, match="sample_rate is for arrays; a Speech has its own"):
        Speech.of(speech, 16_000)
    with pytest.raises(AudioTooLong, match="the speech: lasts over 2 s"):
        Speech.of(longer, max_duration=2)
