"""The commands, as processes where that matters: exit codes, one line on stderr, one line of JSON."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion
from talkinghead.blendshapes import INDEX
from talkinghead.cli import app
from talkinghead.cli.options import face_choice
from talkinghead.cli.speaking import motion, speak
from talkinghead.motion.idle import BLINKS_PER_MINUTE
from talkinghead.timing import peak_memory

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


def test_commands_run_where_resource_is_missing_as_on_windows(short: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['resource'] = None; from talkinghead.cli import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "motion", str(short), "-o", str(tmp_path / "m.npz"), "--json"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["peak_memory_mb"] == 0
    assert len(Motion.load(tmp_path / "m.npz")) == 25


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1 << 20)])
def test_peak_memory_is_in_megabytes_on_every_system(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("resource.getrusage", lambda _: SimpleNamespace(ru_maxrss=300 * unit))

    assert peak_memory() == 300


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


def test_how_and_what_is_said_are_options(short: Path, tmp_path: Path) -> None:
    (tmp_path / "phones.json").write_text(json.dumps([[0.2, 0.6, "AA1"], [0.6, 0.7, "P"]]))
    options = ["--style", "shout", "--articulation", "0.9", "--mood", "happy=0.6,surprised=0.2", "--blink-rate", "0"]
    command = ["motion", str(short), "--phones", str(tmp_path / "phones.json"), "-o"]

    for name, extra in (("plain.npz", []), ("shouted.npz", options)):
        done = CliRunner().invoke(app, [*command, str(tmp_path / name), *extra], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    plain, shouted = (Motion.load(tmp_path / name).expression for name in ("plain.npz", "shouted.npz"))
    assert shouted[10, INDEX["jawOpen"]] > 1.1 * plain[10, INDEX["jawOpen"]]
    assert shouted[0, INDEX["mouthSmileLeft"]] > 0.2
    assert shouted[:, INDEX["eyeBlinkLeft"]].max() < 0.1


def test_words_are_read_from_a_file(short: Path, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx")
    (tmp_path / "words.json").write_text(json.dumps([[0.2, 0.6, "Mama"]]))

    done = CliRunner().invoke(
        app, ["motion", str(short), "-o", str(tmp_path / "m.npz"), "--words", str(tmp_path / "words.json")]
    )

    assert done.exit_code == 0, done.output
    assert Motion.load(tmp_path / "m.npz").expression[:, INDEX["jawOpen"]].max() > 0.1


def test_eyes_and_mouth_are_options(short: Path, tmp_path: Path) -> None:
    still = ["--blink-rate", "0", "--head-motion", "0"]
    options = ["--gaze", "15,-10", "--eye-open", "0.5", "--mouth-scale", "0.5", "--lip-open", "0"]

    for name, extra in (("plain.npz", []), ("looking.npz", options)):
        command = ["motion", str(short), "-o", str(tmp_path / name), *still, *extra]
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0

    plain, looking = (Motion.load(tmp_path / name).expression for name in ("plain.npz", "looking.npz"))
    assert looking[:, INDEX["eyeLookOutLeft"]].mean() == pytest.approx(0.5, abs=0.05)
    assert looking[:, INDEX["eyeLookDownRight"]].mean() == pytest.approx(1 / 3, abs=0.05)
    assert looking[:, INDEX["eyeBlinkLeft"]].min() == pytest.approx(0.5)
    assert looking[:, INDEX["jawOpen"]].max() < 0.6 * plain[:, INDEX["jawOpen"]].max()


@pytest.mark.parametrize(
    "option",
    [
        ("--style", "loud"),
        ("--mood", "odd"),
        ("--mood", "happy=very"),
        ("--gaze", "left"),
        ("--phones", "missing.json"),
    ],
)
def test_a_wrong_way_to_say_it_is_an_error(option: tuple[str, str], short: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["motion", str(short), "-o", str(tmp_path / "m.npz"), *option])

    assert isinstance(done.exception, ValueError)
    assert option[1].split("=")[0] in str(done.exception)
    assert not (tmp_path / "m.npz").exists()


@pytest.mark.parametrize("command", [speak, motion])
def test_the_blink_rate_of_a_command_is_that_of_python(command: Callable[..., None]) -> None:
    assert inspect.signature(command).parameters["blink_rate"].default == BLINKS_PER_MINUTE


def test_doctor_finds_this_machine_well() -> None:
    done = talkinghead("doctor", "--json")

    findings = json.loads(done.stdout)
    assert done.returncode == 0, [name for name, item in findings.items() if not item["ok"]]
    assert {"python", "ffmpeg", "face tracker", "motion model"} <= set(findings)


def test_help_names_every_command() -> None:
    done = talkinghead("--help")

    assert done.returncode == 0
    for command in (
        "speak",
        "motion",
        "track",
        "animate",
        "dub",
        "inspect",
        "bench",
        "demo",
        "doctor",
        "corpus",
        "train",
    ):
        assert re.search(rf"\b{command}\b", done.stdout)


def test_a_corpus_of_chosen_voices_names_those_that_are_unknown(tmp_path: Path) -> None:
    done = talkinghead("corpus", tmp_path / "out", "--voice", "flite_slt", "--voice", "nobody")

    assert done.returncode == 1
    assert "voices unknown: nobody" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_face_is_chosen_by_words_numbers_or_a_box() -> None:
    assert face_choice("largest") == "largest"
    assert face_choice("all") == "all"
    assert face_choice("1") == 1
    assert face_choice("0,10,20.5,30") == (0, 10, 20.5, 30)
    assert talkinghead("speak", "a", "b", "-o", "c.mp4", "--face", "left").returncode == 2
