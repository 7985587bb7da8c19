"""The LivePortrait animator with tiny networks: what it draws is noise, how it moves is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion, Portrait, TalkingHead
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.liveportrait.adapter import LandmarkMap, known_offsets
from talkinghead.animators.liveportrait.animator import TURN_LIMIT, Sitter
from talkinghead.animators.liveportrait.crop import portrait_square
from talkinghead.animators.liveportrait.transform import angles
from talkinghead.cli import app
from talkinghead.errors import WeightsMissing
from talkinghead.face.geometry import move_face
from talkinghead.types import Array
from talkinghead.video import open_video

from . import liveportrait as tiny
from .liveportrait import motion, moved

portrait, folder, animator, networks, sitter = tiny.portrait, tiny.folder, tiny.animator, tiny.networks, tiny.sitter


def test_frames_have_the_pictures_size_and_only_the_face_changes(
    animator: LivePortraitAnimator, portrait: Portrait
) -> None:
    made = motion(2, yaw=5, jawOpen=0.4)

    frames = list(animator(portrait, made, move_face(portrait, made)))

    assert len(frames) == 2
    left, top, right, bottom = portrait_square(portrait.landmarks).box().astype(int)
    margin = 30  # the square leans
    outside = np.ones(portrait.image.shape[:2], bool)
    outside[max(0, top - margin) : bottom + margin, max(0, left - margin) : right + margin] = False
    for frame in frames:
        assert frame.shape == portrait.image.shape
        assert frame.dtype == np.uint8
        assert np.array_equal(frame[outside], portrait.image[outside])
        assert not np.array_equal(frame, portrait.image)


def test_batches_draw_what_single_frames_do(animator: LivePortraitAnimator, portrait: Portrait) -> None:
    made = motion(3, jawOpen=0.5)
    landmarks = move_face(portrait, made)

    single = list(animator(portrait, made, landmarks))
    batched = list(LivePortraitAnimator(animator.networks, batch=2)(portrait, made, landmarks))

    assert len(batched) == 3
    for one, other in zip(single, batched, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_no_motion_keeps_the_keypoints_before_stitching(sitter: Sitter, portrait: Portrait) -> None:
    still = sitter.motion(Motion.still(2), np.repeat(portrait.landmarks[None], 2, 0))
    own = sitter.source.face

    closed = sitter.mouth[0, 0] < 0.03  # a slit counts as closed lips, which moves them a little
    tolerance = 0.05 if closed else 1e-4
    assert np.abs(still.place(own.canonical) - own.keypoints).max() < tolerance
    assert np.allclose(still.rotation, own.motion.rotation, atol=1e-5)


def test_a_turned_head_alone_is_no_expression(sitter: Sitter, portrait: Portrait) -> None:
    turned = moved(portrait, motion(pitch=8, yaw=10, roll=-6))
    open_mouth = moved(portrait, motion(jawOpen=0.5))

    assert np.abs(turned).max() < 0.01
    assert np.abs(open_mouth).max() > 0.1


def test_the_pose_follows_the_motion_and_is_eased_to_its_limit(sitter: Sitter) -> None:
    small, large = motion(yaw=3, pitch=2), motion(yaw=60)

    rotation, _, _ = sitter.pose(small)
    furthest, _, _ = sitter.pose(large)

    # LivePortrait's axes are ours: x right, y down, z away from the camera.
    assert np.allclose(angles(rotation), [[2, 3, 0]], atol=0.1)
    assert 14 < angles(furthest)[0, 1] <= np.degrees(TURN_LIMIT) + 1e-3


def test_a_shift_is_measured_in_the_crop(sitter: Sitter, portrait: Portrait) -> None:
    made = Motion.still(1)
    made.translation[0] = [0.05, 0, 0]

    _, shift, nearer = sitter.pose(made)

    pixels = sitter.head.height * 0.15 * np.tanh(0.05 / 0.15)
    assert np.linalg.norm(shift[0]) == pytest.approx(pixels / (sitter.source.square.side / 2), rel=0.02)
    assert nearer[0] == pytest.approx(1)


def test_known_coordinates_answer_the_shapes_they_belong_to(portrait: Portrait) -> None:
    smile, brows = known_offsets(moved(portrait, motion(mouthSmile=0.8)))[0], None
    brows = known_offsets(moved(portrait, motion(browInnerUp=1, browOuterUp=1)))[0]
    right = known_offsets(moved(portrait, motion(eyeLookOutLeft=0.8, eyeLookInRight=0.8)))[0]

    assert smile[14, 1] < -0.005  # smile: 14.y is -0.02 at full strength
    assert brows[1, 1] > 0.005
    assert abs(brows[14, 1]) < 0.004
    assert right[11, 0] > 0.003
    assert right[15, 0] > 0.003
    assert np.abs(known_offsets(moved(portrait, Motion.still(1)))).max() < 1e-4


class Spy:
    """Notes what the retargeting networks are asked for, and moves nothing."""

    def __init__(self) -> None:
        self.asked: list[Array] = []

    def move_lips(self, source: Array, condition: Array) -> Array:
        self.asked.append(condition)
        return np.zeros((len(condition), 21, 3), np.float32)

    move_eyes = move_lips


def watched(sitter: Sitter) -> tuple[Spy, Sitter]:
    spy = Spy()
    return spy, replace(sitter, animator=LivePortraitAnimator(spy))  # type: ignore[arg-type]


def test_lips_are_asked_for_as_far_open_as_the_landmarks_are(sitter: Sitter) -> None:
    spy, spied = watched(sitter)

    spied.lips(np.array([[0.4], [0.03], [0.01], [0.0]], np.float32))

    assert np.allclose(spy.asked[0][:, 0], sitter.mouth[0, 0])
    targets = spy.asked[0][:, 1]
    assert np.allclose(targets[:2], [0.4, 0.03])
    assert targets[2] < 0.005  # a slit that trackers see where lips are closed
    assert targets[3] == 0


def test_blinks_ask_the_eye_network_to_shut(sitter: Sitter, portrait: Portrait) -> None:
    spy, spied = watched(sitter)

    spied.expression(move_face(portrait, motion(eyeBlink=1)), np.ones((1, 1), np.float32))

    blink, rest = spy.asked[0], spy.asked[1]
    assert np.allclose(blink[:, :2], sitter.eyes)
    assert blink[0, 2] < 0.4 * sitter.eyes.mean()
    assert np.allclose(rest[0, 2], sitter.eyes.mean())


def test_a_map_replaces_the_table_and_a_shut_eye_stays_the_networks(sitter: Sitter, portrait: Portrait) -> None:
    weights = np.zeros((90, 63), np.float32)
    weights[:, 57:60] = 1.0  # keypoint 19 is the sum of all
    mapped = replace(sitter, animator=LivePortraitAnimator(sitter.animator.networks, LandmarkMap(weights)))
    landmarks = move_face(portrait, motion(jawOpen=0.6))

    added = mapped.expression(landmarks, np.ones((1, 1), np.float32))

    total = moved(portrait, motion(jawOpen=0.6)).sum()
    assert np.allclose(added[0, 19], total, atol=1e-4)
    assert np.allclose(added[0, [0, 3, 14]], 0)


def test_a_preset_takes_a_folder_and_names_what_it_does_not_know(folder: Path, tmp_path: Path) -> None:
    head = TalkingHead.from_pretrained(animator=str(folder))

    assert isinstance(head.animator, LivePortraitAnimator)
    with pytest.raises(WeightsMissing, match="holds no animator's checkpoint"):
        TalkingHead.from_pretrained(animator=str(tmp_path))
    with pytest.raises(ValueError, match="animator must be one of mesh, liveportrait, skyreels-a1"):
        TalkingHead.from_pretrained(animator="no such")


def test_the_preset_draws_micro_motion_with_weights_of_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def from_hub(repository: str, revision: str | None) -> Path:
        asked.append((repository, revision))
        return folder

    monkeypatch.setattr("talkinghead.animators.liveportrait.animator.from_hub", from_hub)

    head = TalkingHead.from_pretrained("liveportrait@abc", device="cpu")

    assert asked == [("KwaiVGI/LivePortrait", "abc")]
    assert isinstance(head.animator, LivePortraitAnimator)
    assert len(head.motion((16000, 0.1 * np.sin(np.arange(3200, dtype=np.float32) / 20)))) == 5


def test_a_path_object_is_never_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_hub(*_: Any) -> Path:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("talkinghead.animators.liveportrait.animator.from_hub", from_hub)

    with pytest.raises(WeightsMissing, match=r"^runs/portrait: no such folder"):
        LivePortraitAnimator.open(Path("runs/portrait"))


def test_offline_the_preset_tells_how_to_get_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(WeightsMissing, match="KwaiVGI/LivePortrait: not on this machine"):
        TalkingHead.from_pretrained("liveportrait")


def test_the_command_makes_an_mp4_of_the_sounds_length(folder: Path, tmp_path: Path) -> None:
    picture, sound, output = tmp_path / "face.png", tmp_path / "say.wav", tmp_path / "x.mp4"
    Image.fromarray(astronaut()).save(picture)
    soundfile.write(sound, 0.1 * np.sin(np.arange(1920) / 20), 16000)  # 0.12 s

    result = CliRunner().invoke(app, ["speak", str(picture), str(sound), "--animator", str(folder), "-o", str(output)])

    assert result.exit_code == 0, result.output
    video = open_video(output)
    assert (video.count, float(video.fps), video.size) == (3, 25.0, (512, 512))
