"""Motion templates: those of LivePortrait's users and our own."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from talkinghead import Portrait
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.liveportrait.animator import Sitter
from talkinghead.animators.liveportrait.drive import Face
from talkinghead.animators.liveportrait.template import Template
from talkinghead.cli import app
from talkinghead.errors import MotionUnreadable, OutputNotWritable
from talkinghead.face.geometry import move_face

from . import liveportrait as tiny
from .liveportrait import motion, wave

portrait, folder, animator, sitter = tiny.portrait, tiny.folder, tiny.animator, tiny.sitter


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


def test_a_template_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Template(wave(300), 25).save(tmp_path / "x.npz")
    monkeypatch.setattr("talkinghead.animators.liveportrait.template.MAX_UNPACKED", 50_000)

    with pytest.raises(MotionUnreadable, match=r"it unpacks to .* more than the 50,000 that are accepted"):
        Template.load(path)


def test_templates_have_two_suffixes(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match=r"must be named \.pkl or \.npz"):
        Template(wave(1), 25).save(tmp_path / "x.json")


def test_a_wrong_suffix_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise AssertionError("the driving file was read")

    monkeypatch.setattr(Template, "load", read)
    command = ["liveportrait", "template", str(tmp_path / "driving.pkl"), "-o", str(tmp_path / "x.json")]

    with pytest.raises(OutputNotWritable, match=r"must be named \.pkl or \.npz"):
        CliRunner().invoke(app, command, catch_exceptions=False)


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
