"""What another face did, taken over; and faces cut out of pictures and put back."""

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from talkinghead import Portrait, TalkingHead
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.liveportrait.crop import Paste, Square, face_square
from talkinghead.animators.liveportrait.drive import Driver, Face, Options, drive, drive_animal
from talkinghead.animators.liveportrait.smoothing import smoothed, smoothed_rotation
from talkinghead.animators.liveportrait.transform import KeypointMotion, turn
from talkinghead.audio import Sound, open_sound
from talkinghead.cli import liveportrait as commands
from talkinghead.cli.run import Run
from talkinghead.errors import AudioEmpty, TalkingHeadWarning
from talkinghead.types import Array
from talkinghead.video import write_video

from . import liveportrait as tiny
from .liveportrait import wave

portrait, folder, animator = tiny.portrait, tiny.folder, tiny.animator


class NoHeads:
    """Heads that move nothing."""

    def stitch(self, source: Array, driving: Array) -> Array:
        return driving

    def move_lips(self, source: Array, condition: Array) -> Array:
        return np.full((len(condition), 21, 3), 0.5, np.float32) * condition[:, 1:, None]

    def move_eyes(self, source: Array, condition: Array) -> Array:
        return np.full((len(condition), 21, 3), 0.25, np.float32) * condition[:, 2:, None]


def test_a_film_is_read_by_the_networks_themselves(
    animator: LivePortraitAnimator, portrait: Portrait, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    write_video(film, [portrait.image] * 3, size=(512, 512), fps=Fraction(25, 2), count=3, sound=None)
    head = TalkingHead.from_pretrained(animator=animator)

    as_filmed, as_tracked = head.animate(portrait, film), head.animate(portrait, film, expression_scale=0.9)

    assert (len(as_filmed), as_filmed.fps, as_filmed.motion) == (3, 12.5, None)
    assert as_tracked.motion is not None
    drawn = as_filmed.frames
    assert drawn.shape == (3, 512, 512, 3)
    assert np.array_equal(drawn[0, -20:], portrait.image[-20:])
    assert not np.array_equal(drawn[0], portrait.image)


@pytest.mark.parametrize("kind", ["talking", "silent", "damaged"])
def test_the_command_keeps_the_sound_of_the_film_where_there_is_one(kind: str, tmp_path: Path) -> None:
    film, output = tmp_path / "film.mp4", tmp_path / "out.mp4"
    frames = [np.zeros((64, 64, 3), np.uint8)] * 5
    tone = Sound.of_array(0.1 * np.sin(np.arange(3200) / 20), 16000)
    sound = tone if kind == "talking" else None
    write_video(film, frames, size=(64, 64), fps=Fraction(25), count=5, sound=sound, progress=False)
    if kind == "damaged":
        film.write_text("not a film")

    words = r"the sound is left out: film\.mp4"
    damaged = kind == "damaged"
    with pytest.warns(TalkingHeadWarning, match=words) if damaged else contextlib.nullcontext():
        commands._write(Run(output, False, True), frames, (64, 64), Fraction(25), 5, film)

    if kind == "talking":
        assert open_sound(output)[1].frames == 3200
    else:
        with pytest.raises(AudioEmpty, match="holds no sound track"):
            open_sound(output)


def still_face(frames: int = 1) -> Face:
    random = np.random.default_rng(5)
    canonical = np.repeat(random.normal(size=(1, 21, 3)) * 0.3, frames, 0).astype(np.float32)
    own = wave(1, 7)
    repeated = KeypointMotion(
        *(np.repeat(getattr(own, n), frames, 0) for n in ("expression", "rotation", "scale", "translation"))
    )
    ratios = np.full((frames, 2), 0.3, np.float32)
    return Face(canonical, repeated, ratios, ratios[:, :1])


def test_retargeting_keeps_the_driving_motion_except_as_upstream() -> None:
    driver = Driver(wave(4), np.full((4, 2), 0.2, np.float32), np.full((4, 1), 0.4, np.float32))
    options = Options(lip_retargeting=True, eye_retargeting=True, lip_scale=0.5)
    plain = drive(still_face(), driver, NoHeads(), Options())

    kept = drive(still_face(), driver, NoHeads(), options)
    dropped = drive(
        still_face(), driver, NoHeads(), Options(lip_retargeting=True, eye_retargeting=True, as_upstream=True)
    )

    assert np.allclose(kept - plain, 0.5 * 0.5 * 0.4 + 0.25 * 0.2, atol=1e-5)
    assert np.allclose(dropped, dropped[:1])
    assert not np.allclose(kept, kept[:1])


def test_retargeting_needs_the_drivers_ratios() -> None:
    with pytest.raises(ValueError, match="lip_retargeting needs the driver's lip ratios"):
        drive(still_face(), Driver(wave(2)), NoHeads(), Options(lip_retargeting=True))
    with pytest.raises(ValueError, match="eye_retargeting needs the driver's eye ratios"):
        drive(still_face(), Driver(wave(2)), NoHeads(), Options(eye_retargeting=True))


@pytest.mark.parametrize("wrong", [{"region": "nose"}, {"multiplier": -1}, {"variance": 0}, {"lip_scale": 11}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options(**wrong)


def test_a_multiplier_scales_the_motion_from_the_source() -> None:
    face, driver = still_face(), Driver(wave(3))

    one, double = (drive(face, driver, NoHeads(), Options(multiplier=m)) for m in (1, 2))

    assert np.allclose(double - face.keypoints, 2 * (one - face.keypoints), atol=1e-5)


def test_a_picture_drives_every_frame_of_a_video() -> None:
    neutral = np.zeros((21, 3), np.float32)

    keypoints = drive(still_face(5), Driver(wave(1), neutral=neutral), NoHeads(), Options())

    assert keypoints.shape == (5, 21, 3)


def test_smoothed_rotations_are_rotations_and_smoother_ones_are_smoother() -> None:
    noisy = turn((5 * np.random.default_rng(0).normal(size=(30, 3))).astype(np.float32)).astype(np.float32)

    rotations = smoothed_rotation(noisy, 1e-4)

    assert np.abs(rotations @ np.swapaxes(rotations, 1, 2) - np.eye(3)).max() < 1e-5
    assert np.abs(smoothed(noisy, 1e-4) @ np.swapaxes(smoothed(noisy, 1e-4), 1, 2) - np.eye(3)).max() > 1e-4
    steps = [np.abs(np.diff(smoothed(noisy, v), axis=0)).mean() for v in (1e-7, 1e-5, 1e-4)]
    assert steps[0] > steps[1] > steps[2]


def test_an_animal_moves_from_its_own_place_in_proportion() -> None:
    face = still_face()

    keypoints = drive_animal(face, Driver(wave(3)))

    assert np.allclose(keypoints[0], face.keypoints[0], atol=1e-5)
    assert not np.allclose(keypoints[2], face.keypoints[0], atol=1e-3)


def test_a_driving_picture_adds_what_it_differs_from_closed_lips() -> None:
    face, driver = still_face(), wave(1)

    keypoints = drive(face, Driver(driver, neutral=driver.expression[0]), NoHeads(), Options())
    moved_too = drive(face, Driver(driver), NoHeads(), Options())

    assert np.allclose(keypoints, face.keypoints, atol=1e-6)
    assert np.allclose(moved_too - face.keypoints, face.motion.scale[:, None] * driver.expression, atol=1e-5)


# Cropping


def test_a_sideways_shift_is_not_ignored() -> None:
    points = np.random.default_rng(0).normal(size=(68, 2)).astype(np.float32) * 50 + 200

    plain, shifted = (face_square(points, 2.3, x, -0.125) for x in (0.0, 0.2))

    assert np.linalg.norm(shifted.centre - plain.centre) == pytest.approx(0.2 * plain.side, rel=1e-4)


def test_pasting_touches_only_its_region_and_rounds() -> None:
    picture = np.full((300, 400, 3), 100, np.uint8)
    paste = Paste.of(Square(np.array([200.0, 150.0]), 100, 0.3), 400, 300)

    paste.draw(picture, np.full((512, 512, 3), 200.6, np.float32))

    assert picture[150, 200].tolist() == [201, 201, 201]
    assert paste.mask.shape[0] < 150
    assert (picture[:70] == 100).all()


def test_pasting_beyond_the_border_is_cut_off() -> None:
    picture = np.full((100, 100, 3), 100, np.uint8)

    Paste.of(Square(np.array([0.0, 0.0]), 60, 0.0), 100, 100).draw(picture, np.full((512, 512, 3), 200, np.uint8))
    Paste.of(Square(np.array([500.0, 500.0]), 60, 0.0), 100, 100).draw(picture, np.full((512, 512, 3), 9, np.uint8))

    assert picture[0, 0, 0] == 200
    assert picture[60, 60, 0] == 100
