"""What README and examples show is true."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

from talkinghead.cli import app
from talkinghead.video import open_video

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("face") / "face.png"
    Image.fromarray(astronaut()).save(path)
    return path


@pytest.mark.parametrize(("name", "takes_sound"), [("speak.py", True), ("own_animator.py", True), ("tts.py", False)])
def test_an_example_makes_a_video(name: str, takes_sound: bool, face: Path, tmp_path: Path) -> None:
    sound = [str(ROOT / "examples" / "hello.flac")] if takes_sound else []
    command = [sys.executable, str(ROOT / "examples" / name), str(face), *sound, str(tmp_path / "out.mp4")]

    done = subprocess.run(command, capture_output=True, text=True, timeout=180)

    assert done.returncode == 0, done.stderr[-2000:]
    assert open_video(tmp_path / "out.mp4").count > 20


def test_the_readme_names_real_files_and_commands() -> None:
    assert len(README.splitlines()) <= 150
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    commands |= {group.name for group in app.registered_groups if group.name}
    for command in re.findall(r"^(?:talkinghead) ([\w-]+)", README, re.MULTILINE):
        assert command.replace("-", "_") in commands
    for path in re.findall(r"`((?:talkinghead|configs|examples|tests)/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


def test_the_readmes_python_is_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    assert len(blocks) == 4
    for block in blocks:
        source = block.replace("return ", "") if "self." in block else block
        compile(source, "README.md", "exec")


def test_the_readme_sets_up_in_two_commands() -> None:
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)

    assert len(commands) == 2
    assert "talkinghead demo" in commands[0]
    assert commands[1].endswith("-m pytest")
