"""Clips to train the video transformer on, cut out of films."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead.animators.dit.loading import open_networks
from talkinghead.cli import app
from talkinghead.errors import InputError, OutputExists
from talkinghead.face.model import face_model
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.sound import Sound
from talkinghead.training.dit.clips import Clip, ClipSettings, read_clips, read_manifest
from talkinghead.training.dit.demonstration import film
from talkinghead.training.dit.prepare import Slowed, describe, plan_clips, prepare_clips
from talkinghead.types import Array, Frame, Speech
from talkinghead.video import open_video, write_video

from .dit_training import HEIGHT, WIDTH, write_clips
from .shared import SHARED, needs_shared

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films: one that talks for 2 s, and several that cannot be used."""
    folder = tmp_path_factory.mktemp("films")
    portrait = MediaPipeTracker()(np.ascontiguousarray(astronaut()[:256, 32:416]))
    film(portrait, 2.0, default_rng(0), folder / "silent.mp4")
    frames = list(open_video(folder / "silent.mp4").frames())
    noise = default_rng(0).uniform(-0.2, 0.2, 32_000).astype(np.float32)
    save(folder / "talking.mp4", frames, 24, Sound.of_array(noise, 16_000))
    save(folder / "still.mp4", [portrait.image] * 30, 24)
    save(folder / "nobody.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 30, 24)
    save(folder / "two.mp4", [np.concatenate([frame, frame], axis=1) for frame in frames[:24]], 24)
    save(folder / "slow.mp4", frames[:10], 5)
    (folder / "damaged.mp4").write_bytes((folder / "silent.mp4").read_bytes()[:900])
    return folder


def save(path: Path, frames: Sequence[Frame], fps: int, sound: Sound | None = None) -> None:
    height, width = frames[0].shape[:2]
    write_video(path, frames, size=(width, height), fps=Fraction(fps), count=len(frames), sound=sound, progress=False)


SETTINGS = ClipSettings(96, 144, 9)


@pytest.fixture(scope="module")
def prepared(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_clips(films, tmp_path_factory.mktemp("prepared"), SETTINGS, licence="CC0", progress=False)


def test_films_become_clips_with_a_reason_for_each_that_does_not(prepared: Path) -> None:
    manifest = read_manifest(prepared)

    clips = {Path(film["name"]).name: len(film["clips"]) for film in manifest["films"]}
    reasons = {Path(item["film"]).name: item["reason"] for item in manifest["left_out"]}
    assert clips == {
        "talking.mp4": 3, "silent.mp4": 3, "still.mp4": 0, "nobody.mp4": 0, "two.mp4": 0, "slow.mp4": 0,
        "damaged.mp4": 0,
    }  # fmt: skip
    assert reasons["still.mp4"] == "the lips do not move"
    assert reasons["nobody.mp4"] == "no face is seen"
    assert reasons["two.mp4"] == "2 faces were found"
    assert reasons["slow.mp4"] == "it has 5 frames a second, at least 12 are needed"
    assert "cannot be read as video" in reasons["damaged.mp4"]
    assert "2 of 7 films, 6 clips" in describe(prepared)


def test_a_clip_holds_pictures_landmarks_and_sound_of_the_same_time(prepared: Path, films: Path) -> None:
    clips = {clip.name.split("-")[0] + clip.name[-7:]: clip for clip in read_clips(prepared)}
    clip, silent = clips["talking-000008"], clips["silent-000008"]

    tracked = MediaPipeTracker()
    found = tracked(np.asarray(np.kron(clip.pictures()[3], np.ones((3, 3, 1))), np.uint8)).landmarks[:, :2] / 3

    assert len(clip.pictures()) == 9
    assert np.abs(found - clip.landmarks()[3]).mean() < 1.0
    assert clip.face().shape == (512, 512, 3)
    assert len(Speech.of(clip.video).samples) == pytest.approx(16_000 * 8 / 12, abs=1100)  # a block of AAC
    heard = Speech.of(films / "talking.mp4").samples[round(16_000 * 8 / 12) :][:5000]
    assert np.corrcoef(Speech.of(clip.video).samples[:5000], heard)[0, 1] > 0.8
    with pytest.raises(InputError):
        Speech.of(silent.video)
    drawings = clip.drawings()
    assert len(drawings) == 9
    assert all(0 < (drawing > 0).any(-1).mean() < 0.2 for drawing in drawings)


def test_the_reference_is_no_frame_of_the_clip(prepared: Path) -> None:
    for clip in read_clips(prepared):
        landmarks = clip.landmarks()

        assert np.abs(landmarks[1:] - landmarks[0]).mean((1, 2)).min() > 0


def test_preparing_again_does_only_what_is_missing(prepared: Path, films: Path) -> None:
    files = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir() if path.suffix != ".json"}
    lost = next(name for name in sorted(files) if name.startswith("talking") and name.endswith(".npz"))
    (prepared / lost).unlink()

    prepare_clips(films, prepared, SETTINGS, licence="CC0", progress=False)

    again = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir() if path.suffix != ".json"}
    assert set(again) == set(files)
    assert {name for name in files if again[name] != files[name]} == {n for n in files if n.startswith("talking")}
    with pytest.raises(OutputExists, match="frames"):
        prepare_clips(films, prepared, dataclasses.replace(SETTINGS, frames=17), progress=False)


def test_shots_are_planned_by_what_the_landmarks_do() -> None:
    settings = ClipSettings(96, 144, 9)
    neutral = (face_model().neutral * [1, -1, -1]).astype(np.float32)
    face = (neutral - neutral.mean(0)) / np.ptp(neutral[:, 1]) * 130 + np.array([240, 160, 0], np.float32)

    def rows(count: int, lips: float = 3.0, shift: Any = 0.0, up: float = 0.0) -> list[Array | None]:
        shown = np.repeat(face[None], count, 0)
        shown[:, 14, 1] += lips * (np.arange(count) % 3)
        shown[:, :, 0] += shift
        shown[:, :, 1] -= up
        return list(shown.astype(np.float32))

    def reasons(rows: list[Array | None]) -> list[str]:
        return [item.reason for item in plan_clips(rows, "film", (480, 320), settings)[1]]

    plans, left_out = plan_clips([*rows(20), None, *rows(5)], "film", (480, 320), settings)
    assert [plan.first for plan in plans] == [0, 8]
    assert all(plan.reference not in plan.numbers[1:] for plan in plans)
    assert [(item.reason.split(":")[0], item.start) for item in left_out] == [
        ("no face is seen", 20 / 12), ("too short", 21 / 12),
    ]  # fmt: skip
    assert reasons(rows(8, lips=0.0)) == ["the lips do not move"]
    cut = np.where(np.arange(8) < 4, 0, 60)[:, None]
    assert reasons(rows(8, shift=cut)) == ["the picture jumps, as at a cut"]
    assert reasons(rows(8, up=130)) == ["the face leaves the picture"]
    small = [None if row is None else row * np.float32(0.2) for row in rows(8)]
    assert reasons(small)[0].startswith("the face is too small")


@pytest.mark.parametrize("rate", [12, 25, 30, 50])
def test_a_frame_is_the_one_that_is_shown_at_its_time(tmp_path: Path, rate: int) -> None:
    film = tmp_path / "film.mp4"
    save(film, [np.full((64, 64, 3), 16 + 3 * number, np.uint8) for number in range(rate * 3 // 2)], rate)
    video = open_video(film)

    seen = list(Slowed(video.path, video.size, video.fps, video.count).frames())

    numbers = [round((float(frame.mean()) - 16) / 3) for frame in seen]
    assert numbers == [number * rate // 12 for number in range(18)]


@needs_shared
def test_a_short_real_film_gives_clips_of_short_windows_and_is_too_short_for_long_ones(tmp_path: Path) -> None:
    film = SHARED / "data" / "clips" / "grid_brbk7n.mpg"

    prepare_clips(film, tmp_path / "clips", ClipSettings(192, 288, 17), progress=False)

    assert [len(clip.pictures()) for clip in read_clips(tmp_path / "clips")] == [17, 17]
    with pytest.raises(InputError, match=r"too short: 3\.00 s, at least 4\.00 are needed"):
        prepare_clips(film, tmp_path / "none", ClipSettings(), progress=False)


def test_nothing_to_prepare_is_told(tmp_path: Path, films: Path) -> None:
    with pytest.raises(InputError, match=r"no film gave a clip: .*at least 12"):
        prepare_clips(films / "slow.mp4", tmp_path / "a", SETTINGS, progress=False)
    many = [films / name for name in ("slow.mp4", "nobody.mp4", "still.mp4", "damaged.mp4")]
    with pytest.raises(InputError, match=r"and 1 more in manifest\.json"):
        prepare_clips(many, tmp_path / "b", SETTINGS, progress=False)
    with pytest.raises(InputError, match="holds no clips"):
        read_clips(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "settings": {}, "films": [{}]}'])
def test_a_folder_that_holds_no_clips_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)

    with pytest.raises(InputError, match="holds no clips") as raised:
        read_clips(tmp_path)

    assert "prepare-dit" in raised.value.hint


def test_a_damaged_clip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip,) = write_clips(tmp_path / "clips", 1)
    (clip.folder / "blob-0.npz").write_bytes(b"PK")

    with pytest.raises(InputError, match=r"blob-0\.npz: cannot be read"):
        clip.landmarks()

    monkeypatch.setattr("talkinghead.training.dit.clips.MOST_ARRAYS", 1000)
    (clip,) = write_clips(tmp_path / "huge", 1)
    with pytest.raises(InputError, match=r"blob-0\.npz: cannot be read: it unpacks to .* more than the 1,000"):
        clip.landmarks()
    monkeypatch.undo()

    write_clips(tmp_path / "longer", 1, settings=ClipSettings(HEIGHT, WIDTH, 17))
    other = Clip("blob-0", tmp_path / "longer", clip.settings)
    with pytest.raises(InputError, match="not a clip of 8 frames"):
        other.pictures()
    with pytest.raises(InputError, match=r"landmarks must be \[9, 478, 2\]"):
        other.landmarks()


def test_the_commands_prepare_and_train(films: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "{checkpoint: null, accumulate: 1, tiny: {height: 32, width: 48, vae_channels: [6, 6, 6], layers: 1, heads: 1, "
        "head_size: 16, autoencoder_steps: 1}, "
        "stages: [{name: all, parts: [transformer], steps: 1, learning_rate: 1.0e-3}]}"
    )
    size = ["--height", "32", "--width", "48", "--frames", "9"]

    made = CliRunner().invoke(app, ["prepare-dit", str(films / "silent.mp4"), "-o", str(tmp_path / "clips"), *size])
    run = ["train", "dit", str(recipe), "--clips", str(tmp_path / "clips"), "-o", str(tmp_path / "out")]
    trained = CliRunner().invoke(app, run)

    assert made.exit_code == 0, made.output
    assert "1 of 1 films, 3 clips" in made.output
    assert trained.exit_code == 0, trained.output
    assert open_networks(tmp_path / "out").canvas == (32, 48)
    wrong = CliRunner().invoke(
        app, ["prepare-dit", str(films / "silent.mp4"), "-o", str(tmp_path / "c"), "--framing=x"]
    )
    assert isinstance(wrong.exception, ValueError)
