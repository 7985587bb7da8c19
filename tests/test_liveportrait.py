"""The LivePortrait animator with tiny networks: what it draws is noise, how it moves is not."""

import pickle
from collections import OrderedDict
from dataclasses import replace
from fractions import Fraction
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
from talkinghead.animators.liveportrait.adapter import (
    MAP_FILE,
    POINTS,
    LandmarkMap,
    displacements,
    known_offsets,
    unposed,
)
from talkinghead.animators.liveportrait.animator import TURN_LIMIT, Sitter
from talkinghead.animators.liveportrait.crop import Paste, Square, face_square, portrait_square
from talkinghead.animators.liveportrait.drive import Driver, Face, Options, drive, drive_animal
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
from talkinghead.animators.liveportrait.smoothing import smoothed, smoothed_rotation
from talkinghead.animators.liveportrait.template import Template
from talkinghead.animators.liveportrait.transform import KeypointMotion, angles, turn
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.errors import CheckpointMismatch, MotionUnreadable, OutputNotWritable, VideoUnreadable, WeightsMissing
from talkinghead.face.geometry import Head, move_face
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.types import Array, Frame
from talkinghead.video import open_video, write_video

from .liveportrait import write_tiny


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def animator(folder: Path) -> LivePortraitAnimator:
    return LivePortraitAnimator.open(folder)


@pytest.fixture(scope="module")
def networks(animator: LivePortraitAnimator) -> Networks:
    return animator.networks


@pytest.fixture(scope="module")
def sitter(animator: LivePortraitAnimator, portrait: Portrait) -> Sitter:
    return Sitter.of(animator, portrait)


def motion(frames: int = 1, pitch: float = 0, yaw: float = 0, roll: float = 0, **weights: float) -> Motion:
    """Angles in degrees, weights of shapes, of both sides where the side is not named."""
    made = Motion.still(frames)
    made.rotation[:] = np.radians([pitch, yaw, roll])
    for name, weight in weights.items():
        for column in (INDEX[full] for full in (name, f"{name}Left", f"{name}Right") if full in INDEX):
            made.expression[:, column] = weight
    return made


def moved(portrait: Portrait, made: Motion) -> Array:
    head = Head.of(portrait.landmarks)
    return displacements(unposed(move_face(portrait, made), head), head.shape)


def wave(frames: int, seed: int = 0) -> KeypointMotion:
    """A smooth made-up driving motion."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 3, frames)[:, None]
    degrees = (8 * np.sin(time + random.normal(size=3))).astype(np.float32)
    expression = 0.02 * np.sin(time[..., None] + random.normal(size=(1, 21, 3)))
    return KeypointMotion(
        expression.astype(np.float32),
        turn(degrees).astype(np.float32),
        (1.3 + 0.05 * np.sin(time)).astype(np.float32),
        (0.03 * np.sin(time + random.normal(size=3))).astype(np.float32),
    )


# The animator


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


# Driving


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


# Templates


def public_template(frames: int = 4, **changes: Any) -> dict[str, Any]:
    made = wave(frames)
    rows = [
        {"scale": made.scale[i : i + 1], "R": made.rotation[i : i + 1], "exp": made.expression[i : i + 1],
         "t": made.translation[i : i + 1], "kp": np.zeros((1, 21, 3), np.float32)}
        for i in range(frames)
    ]  # fmt: skip
    eyes, lips = [[np.array([[0.3, 0.3]], np.float32)] * frames, [np.array([[0.1]], np.float32)] * frames]
    return {"n_frames": frames, "output_fps": 25, "motion": rows, "c_eyes_lst": eyes, "c_lip_lst": lips, **changes}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_public_templates_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(public_template(), protocol=protocol))

    template = Template.load(tmp_path / "x.pkl")

    assert len(template) == 4
    assert template.fps == 25
    assert np.allclose(template.motion.expression, wave(4).expression)
    assert template.eyes is not None
    assert template.eyes.shape == (4, 2)


def test_old_names_and_missing_ratios_are_read(tmp_path: Path) -> None:
    table = public_template()
    table["c_d_eyes_lst"], table["c_lip_lst"] = table.pop("c_eyes_lst"), []
    for row in table["motion"]:
        row["R_d"] = row.pop("R")
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(table))

    template = Template.load(tmp_path / "x.pkl")

    assert template.eyes is not None
    assert template.lips is None


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_templates_come_back_as_they_were_saved(tmp_path: Path, suffix: str) -> None:
    made = Template(wave(5), 29.97, np.full((5, 2), 0.3, np.float32))

    again = Template.load(made.save(tmp_path / f"x{suffix}"))

    assert again.fps == 29.97
    assert np.array_equal(again.motion.rotation, made.motion.rotation)
    assert again.eyes is not None
    assert np.array_equal(again.eyes, np.full((5, 2), 0.3, np.float32))
    assert again.lips is None


def test_the_exported_pickle_has_the_public_shapes(tmp_path: Path) -> None:
    Template(wave(2), 25.0).save(tmp_path / "x.pkl")

    table = pickle.loads((tmp_path / "x.pkl").read_bytes())

    assert table["n_frames"] == 2
    assert table["output_fps"] == 25
    assert isinstance(table["output_fps"], int)
    shapes = {name: value.shape for name, value in table["motion"][0].items()}
    assert shapes == {"scale": (1, 1), "R": (1, 3, 3), "exp": (1, 21, 3), "t": (1, 3)}


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("owned",))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_Runs(), "print, which is never run"),
        (OrderedDict(), "OrderedDict, which is never run"),
        ([], "holds a list"),
        ({}, "it has no 'motion'"),
        (public_template(motion=[]), "no list of frames"),
        (public_template(n_frames=9), "says 9 frames, but holds 4"),
        (public_template(motion=[{}] * 4), "it has no"),
        (public_template(motion=[3] * 4), "a frame is a int"),
        (public_template(output_fps=0), "fps must be 1 to 1000"),
        (public_template(c_lip_lst=[np.zeros(1)]), "c_lip_lst has 1 rows for 4 frames"),
    ],
)
def test_each_fault_of_a_template_is_named(
    tmp_path: Path, table: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(table))

    with pytest.raises(MotionUnreadable, match=words):
        Template.load(tmp_path / "x.pkl")

    assert "owned" not in capsys.readouterr().out


@pytest.mark.parametrize("key", ["exp", "R", "scale", "t"])
def test_arrays_of_another_shape_or_kind_are_named(tmp_path: Path, key: str) -> None:
    for wrong in (np.zeros(5), np.array(["a"]), np.array([object()])):
        table = public_template()
        table["motion"][2][key] = wrong
        if wrong.dtype == object:
            wrong[0] = None
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(table))
        with pytest.raises(MotionUnreadable, match=f"{key} is "):
            Template.load(tmp_path / "x.pkl")


def test_numbers_that_no_face_has_are_named(tmp_path: Path) -> None:
    table = public_template()
    table["motion"][1]["R"] = np.zeros((1, 3, 3))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(table))
    with pytest.raises(MotionUnreadable, match="R of frame 1 is no rotation"):
        Template.load(tmp_path / "x.pkl")

    table = public_template()
    table["motion"][1]["exp"][:] = np.nan
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(table))
    with pytest.raises(MotionUnreadable, match="expression must be finite"):
        Template.load(tmp_path / "x.pkl")

    (tmp_path / "x.pkl").write_bytes(pickle.dumps(public_template())[:300])
    with pytest.raises(MotionUnreadable, match="not a motion template"):
        Template.load(tmp_path / "x.pkl")
    (tmp_path / "x.npz").write_bytes(b"PK no archive")
    with pytest.raises(MotionUnreadable, match="not a motion template"):
        Template.load(tmp_path / "x.npz")


def test_templates_have_two_suffixes(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match=r"must be named \.pkl or \.npz"):
        Template(wave(1), 25).save(tmp_path / "x.json")


def test_resampling_keeps_the_time_and_rotations_rotations() -> None:
    made = Template(wave(30), 30.0, np.full((30, 2), 0.3, np.float32)).resample(24000 / 1001)

    assert len(made) == 24
    rotation = made.motion.rotation
    assert np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max() < 1e-5
    assert made.eyes is not None
    assert len(made.eyes) == 24


def test_speech_can_be_exported_as_a_template_that_draws_the_same(
    animator: LivePortraitAnimator, sitter: Sitter, portrait: Portrait, tmp_path: Path
) -> None:
    made = motion(3, yaw=4, jawOpen=0.5)
    made.expression[0] = 0
    template = Template.load(animator.template(portrait, made).save(tmp_path / "x.pkl"))

    face = Face(sitter.source.face.canonical, sitter.source.face.motion, sitter.eyes, sitter.mouth)
    keypoints = template.motion.place(face.canonical)

    direct = sitter.motion(made, move_face(portrait, made)).place(face.canonical)
    assert np.allclose(keypoints[1:], direct[1:], atol=1e-5)
    assert np.allclose(keypoints[0], face.keypoints[0], atol=1e-6)  # at rest
    assert template.lips is not None
    assert template.lips[2, 0] > template.lips[0, 0] + 0.1


# Editing


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
