"""Films, groups and animals edited with LivePortrait's weights, and the map that is fitted to footage."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion, Portrait
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.liveportrait.adapter import MAP_FILE, POINTS, LandmarkMap, displacements, unposed
from talkinghead.animators.liveportrait.drive import Driver
from talkinghead.animators.liveportrait.editing import (
    FilmedFace,
    animal_square,
    animate_animal,
    animate_picture,
    animate_video,
    read_template,
)
from talkinghead.animators.liveportrait.fit_map import Footage, fit_map
from talkinghead.animators.liveportrait.loading import Networks
from talkinghead.animators.liveportrait.template import Template
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.errors import CheckpointMismatch, VideoUnreadable
from talkinghead.face.geometry import Head, move_face
from talkinghead.types import Array, Frame
from talkinghead.video import open_video, write_video

from . import liveportrait as tiny
from .liveportrait import wave, write_tiny

portrait, folder, animator, networks = tiny.portrait, tiny.folder, tiny.animator, tiny.networks


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, portrait: Portrait) -> Path:
    """Three frames at 30000/1001 per second."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    frames: list[Frame] = [np.roll(portrait.image, 2 * i, axis=1) for i in range(3)]
    return write_video(path, frames, size=(512, 512), fps=Fraction(30000, 1001), count=3, sound=None)


def test_two_faces_of_one_picture_move(networks: Networks, portrait: Portrait) -> None:
    wide = np.concatenate([portrait.image, portrait.image], 1)
    second = portrait.landmarks + np.array([512, 0, 0], np.float32)

    frames = list(animate_picture(networks, wide, [portrait.landmarks, second], Driver(wave(2))))

    assert len(frames) == 2
    for start in (0, 512):
        part = slice(start, start + 512)
        assert not np.array_equal(frames[1][:, part], wide[:, part])


def test_a_filmed_face_is_edited_at_its_exact_rate(networks: Networks, film: Path, portrait: Portrait) -> None:
    video = open_video(film)
    landmarks = np.stack([portrait.landmarks + np.array([2 * i, 0, 0], np.float32) for i in range(3)])
    filmed = FilmedFace.of(networks, video, landmarks)
    template = read_template(networks, video, landmarks)

    count, frames = animate_video(networks, filmed, template)

    assert template.fps == pytest.approx(30000 / 1001)
    assert count == 3
    assert [frame.shape for frame in frames] == [(512, 512, 3)] * 3


def test_an_animal_needs_points_or_a_box(networks: Networks, portrait: Portrait) -> None:
    with pytest.raises(ValueError, match="9 points of its face or a box"):
        animal_square()
    with pytest.raises(ValueError, match="9 pairs"):
        animal_square(np.zeros((8, 2), np.float32))
    with pytest.raises(ValueError, match="left, top, right, bottom"):
        animal_square(box=(9.0, 0.0, 1.0, 5.0))

    frames = list(animate_animal(networks, portrait.image, animal_square(box=(150, 50, 300, 200)), Driver(wave(1))))

    assert len(frames) == 1


def test_the_commands_play_templates_on_pictures(folder: Path, tmp_path: Path) -> None:
    picture, template, output = tmp_path / "face.png", tmp_path / "x.pkl", tmp_path / "x.mp4"
    Image.fromarray(astronaut()).save(picture)
    Template(wave(2), 23.976).save(template)
    command = ["liveportrait", "animate", str(picture), str(template), "-o", str(output), "--weights", str(folder)]

    result = CliRunner().invoke(app, [*command, "--region", "lip", "--multiplier", "1.2"])

    assert result.exit_code == 0, result.output
    assert open_video(output).count == 2
    assert open_video(output).fps == Fraction(2997, 125)
    wrong = CliRunner().invoke(app, [*command, "--box", "1,2,3", "--force"])
    assert wrong.exit_code == 2
    assert "--box must be 4 numbers" in wrong.output


def test_the_commands_play_a_picture_on_a_picture(folder: Path, tmp_path: Path) -> None:
    picture, output = tmp_path / "face.png", tmp_path / "x.mp4"
    Image.fromarray(astronaut()).save(picture)
    command = ["liveportrait", "animate", str(picture), str(picture), "-o", str(output), "--weights", str(folder)]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 0, result.output
    assert open_video(output).count == 1


def test_the_command_converts_templates(tmp_path: Path) -> None:
    Template(wave(3), 25.0).save(tmp_path / "x.pkl")

    result = CliRunner().invoke(
        app, ["liveportrait", "template", str(tmp_path / "x.pkl"), "-o", str(tmp_path / "y.npz")]
    )

    assert result.exit_code == 0, result.output
    assert len(Template.load(tmp_path / "y.npz")) == 3


# Fitting a map


def synthetic_footage(portrait: Portrait, frames: int, truth: Array, opening: float = 0.6) -> Footage:
    """A face that moves at random, and expressions that are a linear map of its displacements, with noise."""
    random = np.random.default_rng(frames)
    made = Motion.still(frames)
    steps = random.normal(size=(frames + 8, made.expression.shape[1]))
    smooth = np.apply_along_axis(lambda x: np.convolve(x, np.hanning(9), "valid"), 0, steps)
    made.expression[:] = np.clip(0.25 + 0.25 * smooth / smooth.std(), 0, 1)
    made.expression[:, INDEX["jawOpen"]] *= opening
    made.expression[:, INDEX["mouthClose"]] = 0
    made.rotation[:] = 0.08 * random.normal(size=(frames, 3))
    landmarks = move_face(portrait, made)
    head = Head.of(portrait.landmarks)
    shapes = unposed(landmarks, head)
    exact = displacements(shapes, head.shape).reshape(frames, -1) @ truth
    identity = 0.05 * random.normal(size=63)
    noise = 1e-4 * random.normal(size=exact.shape)
    return Footage.of("synthetic", landmarks, (exact + identity + noise).reshape(-1, 21, 3).astype(np.float32))


def test_a_known_map_is_found_again_and_carries_no_identity(portrait: Portrait, tmp_path: Path) -> None:
    truth = (0.05 * np.random.default_rng(1).normal(size=(90, 63))).astype(np.float32)

    fitted = fit_map([synthetic_footage(portrait, 400, truth), synthetic_footage(portrait, 300, truth)])

    assert fitted.r2 >= 0.99
    assert fitted.lip_r2 >= 0.99
    assert fitted.frames == 560
    again = LandmarkMap.load(fitted.mapping.save(tmp_path / MAP_FILE))
    assert np.array_equal(again.weights, fitted.mapping.weights)
    assert np.abs(again(np.zeros((1, 45, 2), np.float32))).max() == 0


def test_too_little_footage_and_a_still_mouth_are_refused(portrait: Portrait) -> None:
    truth = np.zeros((90, 63), np.float32)

    with pytest.raises(VideoUnreadable, match="100 frames are too few to fit a map to: at least 250"):
        fit_map([synthetic_footage(portrait, 100, truth)])
    silent = Footage.of("still", np.repeat(portrait.landmarks[None], 300, 0), np.zeros((300, 21, 3), np.float32))
    with pytest.raises(VideoUnreadable, match="the mouth hardly moves"):
        fit_map([silent])


def test_a_map_beside_the_weights_is_used_and_a_wrong_one_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "weights")
    LandmarkMap(np.ones((90, 63), np.float32)).save(folder / MAP_FILE)
    assert LivePortraitAnimator.open(folder).mapping is not None

    with pytest.raises(CheckpointMismatch, match=r"a landmark map must be \[90, 63\]"):
        LandmarkMap(np.ones((3, 63), np.float32))


def test_map_points_are_forty_five() -> None:
    assert len(POINTS) == len(set(POINTS.tolist())) == 45
