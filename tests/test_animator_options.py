"""Options of animators by name: checked, passed on, and told by the command line."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import InputError, Motion, TalkingHead
from talkinghead.animators.dit import SkyReelsAnimator
from talkinghead.animators.dit.sampling import Sampling
from talkinghead.animators.dit.speed import Speed
from talkinghead.animators.dit.windows import Join
from talkinghead.animators.liveportrait import LivePortraitAnimator
from talkinghead.animators.options import OPTIONS, LivePortraitOptions, SkyReelsOptions, check_options
from talkinghead.cli import app
from talkinghead.presets import ANIMATORS, load_animator
from talkinghead.video import open_video

from .dit_tiny import write_checkpoint


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("face") / "face.png"
    Image.fromarray(astronaut()).save(path)  # larger than head and shoulders
    return path


def test_every_animator_with_a_name_says_what_options_it_has() -> None:
    assert OPTIONS.keys() == ANIMATORS.keys()


def test_options_are_those_of_the_classes() -> None:
    skyreels = {field.name for kind in (SkyReelsAnimator, Sampling, Speed) for field in fields(kind)}
    skyreels |= get_type_hints(SkyReelsAnimator.from_pretrained).keys()
    liveportrait = {field.name for field in fields(LivePortraitAnimator)}
    liveportrait |= get_type_hints(LivePortraitAnimator.open).keys()

    assert get_type_hints(SkyReelsOptions).keys() - skyreels == {"precision"}  # dtype in Python
    assert get_type_hints(LivePortraitOptions).keys() <= liveportrait


def test_options_reach_the_animator(tiny: Path) -> None:
    given = {
        "framing": "frame", "fps": 25, "between": "stretch", "steps": 3, "guidance": 2, "scheduler": "dpm",
        "identity_guidance": 1.5, "seed": 7, "join": "parity", "precision": "bfloat16", "cache": "first_block",
    }  # fmt: skip

    animator: Any = load_animator(str(tiny), options=given)

    assert (animator.framing, animator.fps, animator.between) == ("frame", 25.0, "stretch")
    assert animator.sampling == Sampling(steps=3, guidance=2.0, scheduler="dpm")
    assert (animator.identity_guidance, animator.seed, animator.join) == (1.5, 7, Join.PARITY)
    assert str(animator.networks.dtype) == "torch.bfloat16"
    assert animator.networks.transformer.is_cache_enabled


def test_a_folder_may_be_a_path_object_and_is_never_a_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    head = TalkingHead.from_pretrained(animator=tiny, animator_options={"fps": 25})

    assert isinstance(head.animator, SkyReelsAnimator)
    assert head.animator.fps == 25
    with pytest.raises(ValueError, match=r"animator must be one of mesh, .*, a checkpoint folder, .* not 'mesh'"):
        TalkingHead.from_pretrained(animator=Path("./mesh"))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("skyreels-a1", {"frames": 3}, "skyreels-a1 has no option frames"),
        ("skyreels-a1", {"framing": "body"}, "framing must be one of face, frame, not 'body'"),
        ("skyreels-a1", {"steps": "many"}, "steps must be int, not 'many'"),
        ("liveportrait", {"steps": 3}, "liveportrait has no option steps"),
        ("liveportrait", {"stitching": 1}, "stitching must be bool, not 1"),
        ("mesh", {"fps": 25}, "mesh has no option fps"),
    ],
)
def test_wrong_options_are_told_with_those_that_are_known(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_options(name, given)

    known = get_type_hints(OPTIONS[name])
    assert all(option in caught.value.hint for option in known) if known else "no options" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fps": float("nan")}, "fps must"),
        ({"steps": 0}, "steps must be 1 to 1000"),
        ({"guidance": float("inf")}, "guidance must be 1 to 20"),
        ({"seed": -1}, "seed must be 0"),
        ({"threshold": 2}, "threshold must be 0 to 1"),
        ({"second_device": "abacus"}, "device abacus is not on this machine"),
    ],
)
def test_values_out_of_range_are_told_before_weights_are_read(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("talkinghead.animators.dit.animator.open_networks", read)

    with pytest.raises(ValueError, match=message):
        load_animator(str(tiny), options=given)


def test_an_animator_of_ones_own_takes_no_options() -> None:
    animator: Any = type("Own", (), {"fps": None, "__call__": lambda *_: iter(())})()

    with pytest.raises(TypeError, match="an animator of your own"):
        TalkingHead.from_pretrained(animator=animator, animator_options={"fps": 25})


def test_the_command_line_passes_options_on(tiny: Path, face: Path, tmp_path: Path) -> None:
    motion = Motion.still(9, 25.0)
    motion.rotation[:, 1] = np.linspace(0, 0.2, 9)
    motion.save(tmp_path / "motion.npz")
    films = {}
    for framing in ("face", "frame"):
        clip = tmp_path / f"{framing}.mp4"
        options = ["fps=25", "between=stretch", f"framing={framing}", "steps=1", "guidance=1"]
        given = [word for option in options for word in ("--animator-option", option)]
        done = run("animate", face, tmp_path / "motion.npz", "--animator", tiny, *given, "-o", clip)
        assert done.exit_code == 0, done.output
        films[framing] = open_video(clip)

    assert [(film.fps, film.count) for film in films.values()] == [(25, 9)] * 2
    first, second = (next(film.frames()).astype(int) for film in films.values())
    assert np.abs(first - second).mean() > 5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("framing", "must be written as framing=frame"),
        ("=3", "must be written as framing=frame"),
        ("fps=", "must be written as framing=frame"),
    ],
)
def test_an_option_that_is_not_written_as_one_is_a_usage_error(
    face: Path, tmp_path: Path, option: str, message: str
) -> None:
    done = run("animate", face, face, "--animator-option", option, "-o", tmp_path / "out.mp4")

    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_dub_passes_options_on(face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(*_: Any, **given: Any) -> None:
        asked.update(given)
        raise InputError("enough")

    monkeypatch.setattr(TalkingHead, "from_pretrained", load)
    words = ["dub", face, face, "--animator", "liveportrait", "--animator-option", "batch=4"]

    done = run(*words, "-o", tmp_path / "out.mp4")

    assert str(done.exception) == "enough"
    assert (asked["animator"], asked["animator_options"]) == ("liveportrait", {"batch": 4})


def test_an_option_cannot_be_given_twice(face: Path, tmp_path: Path) -> None:
    twice = ["--animator-option", "fps=12", "--animator-option", "fps=25"]

    done = run("speak", face, face, *twice, "-o", tmp_path / "out.mp4")

    assert done.exit_code == 2
    assert "fps is given twice" in " ".join(done.output.split())


def test_an_unknown_option_is_one_line_that_lists_the_known_ones(face: Path, tmp_path: Path) -> None:
    words = ["animate", face, face, "--animator", "skyreels-a1", "--animator-option", "colour=red"]
    words += ["-o", tmp_path / "out.mp4"]

    done = subprocess.run(
        [sys.executable, "-m", "talkinghead", *map(str, words)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "skyreels-a1 has no option colour (its options are framing, fps, between" in line


@pytest.mark.parametrize("command", ["speak", "animate", "dub"])
def test_help_names_the_options_and_loads_nothing_heavy(command: str) -> None:
    code = (
        "import sys, json\nfrom talkinghead.cli import app\n"
        f"try: app([{command!r}, '--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps([name for name in ('torch', 'diffusers', 'numpy') if name in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *lines, heavy = done.stdout.splitlines()
    told = " ".join(" ".join(lines).split())
    assert "framing (face, frame)" in told
    assert "liveportrait: precision (auto, float32" in told
    assert json.loads(heavy) == []


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])
