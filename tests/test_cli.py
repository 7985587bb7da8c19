"""The commands, as processes where that matters: exit codes, one line on stderr, one line of JSON."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion
from talkinghead.cli import app, face_choice

ROOT = Path(__file__).parents[1]
HELLO = ROOT / "examples" / "hello.flac"


def talkinghead(*arguments: object, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "talkinghead", *map(str, arguments)]
    environment = dict(os.environ) if path is None else {**os.environ, "PATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=120)


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("face") / "face.png"
    Image.fromarray(astronaut()).save(path)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    samples, rate = soundfile.read(HELLO, frames=16_000)
    path = tmp_path_factory.mktemp("sound") / "short.wav"
    soundfile.write(path, samples, rate)
    return path


def test_speak_needs_no_program_on_the_path_and_tells_its_result_in_one_line(
    face: Path, short: Path, tmp_path: Path
) -> None:
    done = talkinghead("speak", face, short, "-o", tmp_path / "out.mp4", "--json", path="")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["frames"] == 25
    assert result["fps"] == 25
    assert result["seconds"] == 1
    assert {"load", "face", "hear", "move", "draw", "write"} <= set(result["stages"])
    assert result["real_time_factor"] > 0
    assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_an_error_is_one_line_and_exit_code_1(short: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")

    done = talkinghead("speak", tmp_path / "text.png", short, "-o", tmp_path / "out.mp4")

    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("talkinghead:")]
    assert len(lines) == 1
    assert "text.png" in lines[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("option", [("--device", "tpu"), ("--animator", "cartoon"), ("--model", "no-such")])
def test_a_wrong_argument_is_one_line_too(option: tuple[str, str], face: Path, short: Path, tmp_path: Path) -> None:
    done = talkinghead("speak", face, short, "-o", tmp_path / "out.mp4", *option)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("talkinghead: ")


def test_nothing_is_overwritten_without_force(face: Path, short: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.npz"
    output.write_bytes(b"precious")

    refused = talkinghead("motion", short, "-o", output)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert output.read_bytes() == b"precious"

    assert talkinghead("motion", short, "-o", output, "--force").returncode == 0
    assert len(Motion.load(output)) == 25


def test_motion_then_animate_then_track(face: Path, short: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    steps = [
        ["motion", str(short), "-o", str(tmp_path / "m.npz"), "--json"],
        ["animate", str(face), str(tmp_path / "m.npz"), "-o", str(tmp_path / "a.mp4"), "--json"],
        ["track", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "t.npz"), "--json"],
    ]

    for step in steps:
        done = runner.invoke(app, step, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout.splitlines()[-1])["frames"] == 25

    assert np.isfinite(Motion.load(tmp_path / "t.npz").expression).all()


def test_doctor_finds_this_machine_well() -> None:
    done = talkinghead("doctor", "--json")

    findings = json.loads(done.stdout)
    assert done.returncode == 0, [name for name, item in findings.items() if not item["ok"]]
    assert {"python", "ffmpeg", "face tracker", "motion model"} <= set(findings)


def test_help_names_every_command() -> None:
    done = talkinghead("--help")

    assert done.returncode == 0
    for command in ("speak", "motion", "track", "animate", "demo", "doctor", "corpus", "train"):
        assert re.search(rf"\b{command}\b", done.stdout)


def test_a_face_is_chosen_by_words_numbers_or_a_box() -> None:
    assert face_choice("largest") == "largest"
    assert face_choice("1") == 1
    assert face_choice("0,10,20.5,30") == (0, 10, 20.5, 30)
    assert talkinghead("speak", "a", "b", "-o", "c.mp4", "--face", "left").returncode == 2
