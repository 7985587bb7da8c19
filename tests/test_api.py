"""The public names are a promise."""

import subprocess
import sys

import talkinghead
from talkinghead import errors

TYPES = {"TalkingHead", "Speech", "Portrait", "Motion", "Clip", "Style"}


def test_the_public_names_are_these_and_no_others() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TalkingHeadError | errors.TalkingHeadWarning)
    }

    assert set(talkinghead.__all__) == TYPES | tree
    assert len(tree) == 37


def test_every_public_name_can_be_had() -> None:
    for name in talkinghead.__all__:
        assert getattr(talkinghead, name).__name__ == name


def test_every_error_has_a_code_of_its_own() -> None:
    public = [getattr(talkinghead, name) for name in talkinghead.__all__]
    codes = [value.code for value in public if hasattr(value, "code")]

    assert len(set(codes)) == len(codes)
    assert errors.AudioTooShort.code == "audio_too_short"
    assert errors.NoFaceFound("none").hint == ""


def test_importing_is_quick_and_loads_no_model_library() -> None:
    script = """
import sys, time
import numpy
start = time.perf_counter()
import talkinghead
taken = time.perf_counter() - start
heavy = {"torch", "diffusers", "transformers", "mediapipe", "whisper", "moviepy", "librosa", "numba", "cv2"}
print(taken, ",".join(sorted(heavy & set(sys.modules))))
"""
    taken, loaded = min(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split(" ")
        for _ in range(3)
    )

    assert loaded.strip() == ""
    assert float(taken) < 0.5
