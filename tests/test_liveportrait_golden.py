"""LivePortrait's networks and arithmetic beside the numbers that the public ones give for weights made by rule.

Full-size networks take seconds a frame on a CPU, so each runs once plainly and once optimised.
"""

import json
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from talkinghead.animators.liveportrait.crop import (
    DRIVING,
    SOURCE,
    Paste,
    box_matrix,
    cut,
    face_input,
    face_square,
    feather,
    mean_box,
)
from talkinghead.animators.liveportrait.drive import Driver, Face, Options, drive, hull_multiplier
from talkinghead.animators.liveportrait.loading import Networks, load_networks, optimise
from talkinghead.animators.liveportrait.motion_extractor import angle
from talkinghead.animators.liveportrait.retarget import eye_condition, eye_ratio, lip_condition, lip_ratio
from talkinghead.animators.liveportrait.smoothing import smoothed
from talkinghead.animators.liveportrait.transform import KeypointMotion, turn
from talkinghead.animators.liveportrait.warping import Flow, sample

from .liveportrait import GOLDEN, golden_rules, golden_tensors, manifest, public_modules, write_public
from .shared import needs_shared

pytestmark = needs_shared

SCENARIOS = json.loads((GOLDEN / "scenarios.json").read_text("utf-8")) if GOLDEN.is_dir() else {}
CROPS = (203, 106, 101, 68, 5, 9, 478)
LANDMARK_NETWORK = (1.5, 0.0, -0.1)

Golden = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN / "expected.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    return golden_rules()


@pytest.fixture(scope="module")
def tensors() -> dict[str, Any]:
    return golden_tensors()


@pytest.fixture(scope="module")
def networks(tensors: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """The plain networks, from a folder of public files."""
    folder = write_public(tmp_path_factory.mktemp("public"), tensors)
    loaded = load_networks(folder, optimised=False)
    for path in folder.rglob("*.pth"):  # half a gigabyte
        path.unlink()
    with torch.inference_mode():
        yield loaded


@pytest.fixture(scope="module")
def optimised(networks: Networks) -> Networks:
    return optimise(networks)


def near(given: Tensor | NDArray[Any] | float, wanted: NDArray[Any], tolerance: float) -> None:
    values = given.numpy() if isinstance(given, Tensor) else np.asarray(given)
    assert values.shape == wanted.shape
    assert np.abs(values - wanted).max() <= tolerance


def alike(given: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> None:
    """Pictures of two OpenCV generations: 0.1 on average, 1 % by more than 2 levels."""
    assert given.shape == wanted.shape
    difference = np.abs(given.astype(int) - wanted)
    assert difference.mean() <= 0.1
    assert (difference > 2).mean() <= 0.01


def as_input(picture: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


def test_golden_weights_are_those_that_the_numbers_were_made_with(golden: Golden, tensors: dict[str, Any]) -> None:
    flat = {}
    for name, table in tensors.items():
        for key, value in table.items():
            nested = value if isinstance(value, dict) else {None: value}
            flat.update({f"{name.removesuffix('.pth')}/{key}" + (f"/{k}" if k else ""): v for k, v in nested.items()})

    assert list(golden["weights/key"]) == list(flat)
    for tensor, wanted in zip(flat.values(), golden["weights/first_mean_absmean"], strict=True):
        values = tensor.double()
        near(np.array([values.flatten()[0], values.mean(), values.abs().mean()]), wanted, 1e-5)


def test_golden_keys_and_shapes_are_the_public_ones() -> None:
    with torch.device("meta"):
        modules = public_modules()
    count = 0
    for name, table in manifest().items():
        heads = table if isinstance(modules[name], dict) else {None: table}
        for head, keys in heads.items():
            module = modules[name] if head is None else modules[name][head]
            assert {key: list(tensor.shape) for key, tensor in module.state_dict().items()} == {
                key: spec["shape"] for key, spec in keys.items()
            }
            count += len(keys)

    assert count == 626


@pytest.mark.parametrize("kind", ["networks", "optimised"])
def test_golden_appearance(kind: str, golden: Golden, request: pytest.FixtureRequest) -> None:
    made: Networks = request.getfixturevalue(kind)

    volume = made.appearance(as_input(golden["input/image_source"]))

    near(volume[:, ::4, ::4, ::8, ::8], golden["F/feature_sub"], 2e-5)
    near(volume[0].mean((2, 3)), golden["F/feature_mean"], 2e-5)
    near(volume[0].std((2, 3), correction=0), golden["F/feature_std"], 2e-5)


def test_golden_motion_extractor(golden: Golden, networks: Networks) -> None:
    raw = networks.motion(torch.cat([as_input(golden[f"input/image_{kind}"]) for kind in ("source", "driving")]))
    degrees = torch.cat([angle(raw.pitch), angle(raw.yaw), angle(raw.roll)], 1)
    rotation = turn(degrees.numpy())
    motion = KeypointMotion(
        raw.exp.reshape(2, 21, 3).numpy(), rotation.astype(np.float32), raw.scale.numpy(), raw.t.numpy()
    )

    for name, values in raw._asdict().items():
        near(values, golden[f"M/raw_{name}"], 2e-5)
    for column, name in enumerate(("pitch", "yaw", "roll")):
        near(degrees[:, column : column + 1], golden[f"M/deg_{name}"], 1e-4)
    near(rotation, golden["M/rotation"], 1e-5)
    near(motion.place(raw.kp.reshape(2, 21, 3).numpy()), golden["M/keypoints"], 1e-5)


def test_golden_angles(golden: Golden) -> None:
    near(angle(torch.from_numpy(golden["pose/logits"]))[:, 0], golden["pose/degrees"], 1e-4)
    near(turn(golden["pose/pitch_yaw_roll"]), golden["pose/rotation"], 1e-6)


def test_golden_heads(golden: Golden, networks: Networks, rules: ModuleType) -> None:
    source, driving = golden["M/keypoints"][:1], golden["M/keypoints"][1:]
    flat = torch.from_numpy(np.concatenate([source, driving], 1).reshape(1, 126))

    for name, head, width in (
        ("stitching", networks.stitching, 126),
        ("lip", networks.lip, 65),
        ("eye", networks.eye, 66),
    ):
        near(head(rules.golden_input(name, (4, width))), golden[f"S/isolated_{name}"], 1e-5)
    near(networks.stitching(flat), golden["S/delta"], 1e-5)
    near(networks.stitch(source, driving), golden["S/keypoints_stitched"], 1e-5)
    near(networks.move_eyes(source, golden["R/eye_condition"]), golden["R/eye_delta"], 1e-5)
    near(networks.move_lips(source, golden["R/lip_condition"]), golden["R/lip_delta"], 1e-5)


def check_warping(
    networks: Networks, volume: Tensor, driving: Tensor, source: Tensor, golden: Golden, at: str
) -> Tensor:
    """The warped feature, after it and what leads to it were found equal to the numbers under `at`."""
    flow: Flow = networks.warping.dense_motion_network(volume, driving, source)
    feature = networks.warping.feature(sample(volume, flow.deformation), flow.occlusion)

    near(flow.mask[:, :, ::4, ::8, ::8], golden[f"{at}/mask_sub"], 1e-5)
    near(flow.deformation[:, ::2, ::4, ::4], golden[f"{at}/deformation_sub"], 1e-5)
    near(flow.occlusion, golden[f"{at}/occlusion"], 2e-5)
    near(feature[:, ::8, ::4, ::4], golden[f"{at}/out_sub"], 2e-4)
    near(feature[0].mean((1, 2)), golden[f"{at}/out_mean"], 2e-4)
    near(feature[0].std((1, 2), correction=0), golden[f"{at}/out_std"], 2e-4)
    return feature


def test_golden_warping_and_generator_when_optimised(golden: Golden, optimised: Networks, rules: ModuleType) -> None:
    source, driving = (torch.from_numpy(golden[f"W/kp_{kind}"]) for kind in ("source", "driving"))

    check_warping(optimised, rules.golden_input("feature_3d", (1, 32, 16, 64, 64)), driving, source, golden, "W")
    picture = optimised.generator(rules.golden_input("decoder", (1, 256, 64, 64)))

    near(picture[:, :, ::8, ::8], golden["G/image_sub"], 1e-5)
    near(picture[:, :, 192:256, 192:256], golden["G/image_window"], 1e-5)
    statistics = torch.stack([picture[0].mean((1, 2)), picture[0].std((1, 2), correction=0)])
    near(statistics, golden["G/image_mean_std"], 1e-5)


def test_golden_chain_of_the_plain_networks(golden: Golden, networks: Networks) -> None:
    volume = networks.appearance(as_input(golden["input/image_source"]))
    source, driving = (torch.from_numpy(golden[n]) for n in ("M/keypoints", "S/keypoints_stitched"))

    feature = check_warping(networks, volume, driving, source[:1], golden, "chain")
    picture = networks.generator(feature)

    near(picture, golden["chain/image_f16"].astype(np.float32), 6e-4)
    near(picture[:, :, ::8, ::8], golden["chain/image_sub_f32"], 1e-4)
    levels = (picture[0].permute(1, 2, 0) * 255).to(torch.uint8)[::4, ::4].numpy()
    assert np.abs(levels.astype(int) - golden["chain/image_uint8_sub"]).max() <= 1


def driving_motion(golden: Golden) -> KeypointMotion:
    return KeypointMotion(*(golden[f"drive/{name}"] for name in ("exp", "R", "scale", "t")))


def source_face(golden: Golden, frames: int, landmarks: str) -> Face:
    motion = KeypointMotion(*(golden[f"source/{name}"][:frames] for name in ("exp", "R", "scale", "t")))
    points = golden[f"source/landmarks_{landmarks}"][None]
    repeated = np.repeat(points, frames, 0)
    return Face(golden["source/kp"][:frames], motion, eye_ratio(repeated), lip_ratio(repeated))


def test_golden_source_keypoints(golden: Golden) -> None:
    near(source_face(golden, 1, "open").keypoints, golden["source/keypoints"], 1e-5)
    near(source_face(golden, 8, "open").keypoints, golden["source/keypoints_video"], 1e-5)
    near(turn(np.concatenate([golden[f"drive/{a}"] for a in ("pitch", "yaw", "roll")], 1)), golden["drive/R"], 1e-5)


@pytest.mark.parametrize("name", SCENARIOS)
def test_golden_motion(name: str, golden: Golden, networks: Networks) -> None:
    scenario = SCENARIOS[name]
    frames = scenario["driving_frames"]
    face = source_face(golden, 8 if scenario["source"] == "video" else 1, scenario["landmarks"])
    driver = Driver(
        driving_motion(golden)[:frames],
        golden["drive/eye_ratio"],
        golden["drive/lip_ratio"],
        golden["source/neutral_lip"],
    )
    options = Options(
        relative=scenario["relative"],
        region=scenario["region"],
        expression_friendly=scenario["driving_option"] == "expression-friendly",
        stitching=scenario["stitching"],
        lip_zero=scenario["lip_zero"],
        eye_retargeting=scenario["eye_retargeting"],
        lip_retargeting=scenario["lip_retargeting"],
        source_eye_retargeting=scenario["source_video_eye_retargeting"],
        multiplier=scenario["driving_multiplier"],
        variance=scenario["observation_variance"],
        as_upstream=True,
    )

    keypoints = drive(face, driver, networks, options)

    near(keypoints[: len(golden[f"motion/{name}"])], golden[f"motion/{name}"], 1e-5)


def test_golden_ratios_and_conditions(golden: Golden, networks: Networks) -> None:
    for kind in ("open", "closed"):
        points = golden[f"source/landmarks_{kind}"][None]
        near(eye_ratio(points), golden[f"ratio/{kind}_eye"], 1e-6)
        near(lip_ratio(points), golden[f"ratio/{kind}_lip"], 1e-6)
    eyes, lips = golden["ratio/open_eye"], golden["ratio/open_lip"]
    near(eye_condition(eyes, golden["drive/eye_ratio"][2:3]), golden["ratio/eye_condition"], 1e-6)
    near(lip_condition(lips, golden["drive/lip_ratio"][2:3]), golden["ratio/lip_condition"], 1e-6)
    near(eye_ratio(golden["crop/478/landmarks"]), golden["ratio/points478_eye"], 1e-6)
    near(lip_ratio(golden["crop/478/landmarks"]), golden["ratio/points478_lip"], 1e-6)
    shut = lip_condition(lips, np.zeros((1, 1), np.float32))
    near(shut, golden["lipzero/condition"], 1e-6)
    near(networks.move_lips(source_face(golden, 1, "open").keypoints, shut), golden["lipzero/delta"], 1e-5)


def test_golden_smoothing(golden: Golden) -> None:
    near(smoothed(golden["smooth/input"], 3e-7), golden["smooth/default"], 1e-5)
    near(smoothed(golden["smooth/input"], 3e-5), golden["smooth/x100"], 1e-5)


def test_golden_hull_multiplier(golden: Golden) -> None:
    multiplier = hull_multiplier(golden["hull/source"][0], golden["hull/driving"][0])

    near(multiplier, golden["hull/multiplier"], 1e-5)


@pytest.mark.parametrize("count", CROPS)
def test_golden_crops(count: int, golden: Golden) -> None:
    at = f"crop/{count}"
    points = golden[f"{at}/landmarks"]
    homogeneous = np.column_stack([points, np.ones(len(points))])
    square = face_square(points, *SOURCE)

    near(square.centre, golden[f"{at}/center"], 1e-3)
    near(square.side, golden[f"{at}/size"], 1e-3)
    near(square.angle, golden[f"{at}/angle"], 1e-5)
    near((homogeneous @ square.matrix(512).T)[:, :2], golden[f"{at}/source_points"], 0.01)
    crops = (
        ("source", square.matrix(512)),
        ("source_norot", square.matrix(512, upright=False)),
        ("landmark", face_square(points, *LANDMARK_NETWORK).matrix(224)),
    )
    for name, matrix in crops:
        near(homogeneous @ matrix.T, homogeneous @ golden[f"{at}/{name}_o2c"].T, 0.01)
        inside = homogeneous @ golden[f"{at}/{name}_o2c"].T
        near(inside @ np.linalg.inv(matrix).T, inside @ golden[f"{at}/{name}_c2o"].T, 0.01)


@pytest.mark.parametrize("count", [203, 106, 68])
def test_golden_driving_boxes(count: int, golden: Golden) -> None:
    square = face_square(golden[f"crop/{count}/landmarks"], *DRIVING)
    left, top, right, bottom = square.box()
    corners = np.array([[0, 0, 1], [512, 0, 1], [512, 512, 1], [0, 512, 1]], np.float64)

    box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    near(box, golden[f"crop/{count}/driving_bbox"], 1e-2)
    leaning = corners @ np.linalg.inv(square.matrix(512)).T
    near(leaning[:, :2], golden[f"crop/{count}/driving_bbox_rotated"], 1e-2)


def test_golden_cut_pictures(golden: Golden) -> None:
    photo, square = golden["input/photo"], face_square(golden["crop/203/landmarks"], *SOURCE)
    crop = cut(photo, square.matrix(512))

    alike(crop[::4, ::4], golden["crop/image_512_sub"])
    alike(cut(photo, square.matrix(512, upright=False))[::4, ::4], golden["crop/image_512_norot_sub"])
    alike(face_input(crop), golden["crop/image_256"])


def test_golden_one_box_for_a_driving_video(golden: Golden) -> None:
    landmarks = golden["drivecrop/landmarks"]
    box = mean_box(landmarks)
    matrix = box_matrix(box, 512)
    points = np.column_stack([landmarks[1], np.ones(203)]) @ matrix.T

    near(box, golden["drivecrop/mean_box"], 1e-3)
    near(points[:, :2], golden["drivecrop/points_frame1"], 0.01)
    alike(cut(golden["input/photo"], matrix)[::4, ::4], golden["drivecrop/image_sub"])


def test_golden_feather_and_paste(golden: Golden) -> None:
    photo, mask = golden["input/photo"].copy(), feather()
    square = face_square(golden["crop/203/landmarks"], *SOURCE)
    paste = Paste.of(square, photo.shape[1], photo.shape[0])
    spread = np.zeros(photo.shape[:2])
    spread[paste.rows, paste.columns] = paste.mask[..., 0] * 255
    face = cv2.resize(golden["input/image_driving"], None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)

    paste.draw(photo, face, truncated=True)

    assert np.array_equal(np.concatenate([mask[:20, :20], mask[-20:, -20:]]), golden["paste/mask_sub"])
    alike(spread.round().astype(np.uint8), golden["paste/mask_photo"])
    alike(photo, golden["paste/result"])
