"""The animator of the video transformer, end to end on a tiny random checkpoint."""

import ctypes
import gc
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from typer.testing import CliRunner

from talkinghead import Motion, Portrait, Speech, TalkingHead, WeightsMissing
from talkinghead.animators.dit import SkyReelsAnimator
from talkinghead.animators.dit.frame_rate import interpolated, native_count, sampled
from talkinghead.animators.dit.memory import keep_heap_whole
from talkinghead.animators.dit.sampling import Sampling
from talkinghead.animators.dit.windows import Driving, stream_pictures
from talkinghead.cli import app
from talkinghead.demo import demo_speech
from talkinghead.errors import DeviceOutOfMemory, NoFaceFound, NumericalError
from talkinghead.face.geometry import stream_landmarks
from talkinghead.face.tracker import MediaPipeTracker
from talkinghead.presets import load_animator
from talkinghead.types import SAMPLE_RATE
from talkinghead.video import open_video

from .dit_tiny import write_checkpoint

QUICK = Sampling(steps=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def animator(tiny: Path) -> SkyReelsAnimator:
    return SkyReelsAnimator.from_pretrained(tiny, sampling=QUICK)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return MediaPipeTracker()(astronaut())


def turning(count: int, fps: float = 12.0) -> Motion:
    motion = Motion.still(count, fps)
    motion.rotation[:, 1] = np.linspace(0, 0.2, count)
    return motion


def frames(animator: SkyReelsAnimator, portrait: Portrait, motion: Motion) -> Any:
    return np.stack(list(animator(portrait, motion, stream_landmarks(portrait, motion))))


def test_frames_are_as_many_and_as_large_as_asked_for(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    made = frames(animator, portrait, turning(19))

    assert made.shape == (19, *portrait.image.shape)
    assert made.dtype == np.uint8
    assert np.abs(np.diff(made.astype(int), axis=0)).max() > 0


def test_only_the_surroundings_of_the_face_change(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    framing = animator.frame(portrait)
    (made,) = frames(animator, portrait, turning(1))

    outside = np.ones(made.shape[:2], bool)
    outside[max(0, framing.top) : framing.top + framing.height, max(0, framing.left) : framing.left + framing.width] = 0
    np.testing.assert_array_equal(made[outside], portrait.image[outside])
    assert np.abs(made.astype(int) - portrait.image)[~outside].mean() > 5  # an untrained network draws no face


def test_all_of_the_picture_can_be_animated(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    (made,) = frames(replace(animator, framing="frame"), portrait, turning(1))

    assert made.shape == portrait.image.shape
    assert np.abs(made.astype(int) - portrait.image).mean() > 5


@pytest.mark.parametrize(("fps", "between"), [(24.0, "stretch"), (25.0, "interpolate")])
def test_other_frame_rates(animator: SkyReelsAnimator, portrait: Portrait, fps: float, between: Any) -> None:
    made = frames(replace(animator, fps=fps, between=between), portrait, turning(9, fps))

    assert len(made) == 9


def test_frames_at_the_models_own_times_are_its_own(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    native = frames(animator, portrait, turning(5).resample(24.0)[0:9].resample(12.0))
    twice = frames(replace(animator, fps=24.0), portrait, turning(5).resample(24.0)[0:9])

    assert np.abs(native[:4].astype(int) - twice[::2][:4]).max() <= 1


def test_interpolation_moves_what_moves() -> None:
    def square(left: int) -> Any:
        frame = np.full((96, 128, 3), 40, np.uint8)
        frame[30:60, left : left + 30] = 220
        return frame

    made = list(interpolated([square(20), square(26)], 3, 24.0))

    assert np.array_equal(made[0], square(20))
    assert np.array_equal(made[2], square(26))
    centre = (made[1][40, :, 0] > 130).nonzero()[0].mean()
    assert abs(centre - (23 + 14.5)) < 1
    edge = (made[1][45, 18:36, 0] > 100) & (made[1][45, 18:36, 0] < 160)
    assert edge.sum() <= 2  # moved, not faded: a fade would show six half-bright pixels


@pytest.mark.parametrize(
    ("count", "fps", "wanted"), [(1, 25, 1), (2, 25, 2), (25, 25, 13), (24, 24, 13), (50, 25, 25), (0, 25, 0)]
)
def test_native_frames_surround_those_asked_for(count: int, fps: float, wanted: int) -> None:
    assert native_count(count, fps) == wanted
    assert len(list(interpolated(iter([np.zeros((64, 64, 3), np.uint8)] * wanted), count, fps))) == count


def test_landmarks_are_read_between_frames() -> None:
    rows = [np.full((2, 2), value, np.float32) for value in (0, 1, 2, 3)]

    read = [float(row[0, 0]) for row in sampled(rows, 5, 24.0, 12.0)]

    assert read == [0, 2, 3, 3, 3]


def test_any_picture_shape_is_animated(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    face = portrait.landmarks[:, :2]
    left, top = (face.min(0) - 25).astype(int)
    right, bottom = (face.max(0) + 25).astype(int)
    narrow = Portrait(
        np.ascontiguousarray(portrait.image[top:, left:right]),
        portrait.landmarks - np.array([left, top, 0], np.float32),
    )
    wide = Portrait(
        np.ascontiguousarray(portrait.image[top:bottom]), portrait.landmarks - np.array([0, top, 0], np.float32)
    )

    for case, framing in ((narrow, "frame"), (narrow, "face"), (wide, "face")):
        (made,) = frames(replace(animator, framing=framing, sampling=Sampling(steps=1)), case, turning(1))  # type: ignore[arg-type]
        assert made.shape == case.image.shape


def test_a_face_that_the_model_cannot_see_is_refused(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    wide = np.zeros((512, 4000, 3), np.uint8)
    wide[:, :512] = portrait.image

    with pytest.raises(NoFaceFound, match="outside of what the model sees"):
        frames(replace(animator, framing="frame"), Portrait(wide, portrait.landmarks), turning(1))


def test_a_picture_without_a_face_is_refused_before_any_model_runs(animator: SkyReelsAnimator) -> None:
    head = TalkingHead.from_pretrained(animator=animator)

    with pytest.raises(NoFaceFound):
        head.speak(np.full((200, 200, 3), 128, np.uint8), demo_speech())


@pytest.mark.parametrize(
    ("raised", "wanted", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceOutOfMemory, "GPU's memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), DeviceOutOfMemory, "machine's memory"),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_a_lack_of_memory_is_told(
    animator: SkyReelsAnimator,
    portrait: Portrait,
    monkeypatch: pytest.MonkeyPatch,
    raised: Any,
    wanted: Any,
    message: str,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(animator.networks.transformer, "forward", full)

    with pytest.raises(wanted, match=message) as caught:
        frames(animator, portrait, turning(1))

    assert wanted is not DeviceOutOfMemory or caught.value.hint


def test_numbers_that_are_none_are_told(animator: SkyReelsAnimator, portrait: Portrait, tiny: Path) -> None:
    broken = SkyReelsAnimator.from_pretrained(tiny, sampling=QUICK)
    broken.networks.transformer.proj_out.weight.data.fill_(1e38)

    with pytest.raises(NumericalError, match="NaN or infinity"):
        frames(broken, portrait, turning(1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fps": 0}, "fps must be"),
        ({"between": "guess"}, "between must be"),
        ({"framing": "body"}, "framing must be"),
        ({"identity_guidance": -1}, "identity_guidance must be"),
    ],
)
def test_options_out_of_range_are_refused(animator: SkyReelsAnimator, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(animator, **wrong)


class Heap(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
    ))  # fmt: skip


def heap() -> Any:
    """What the C library has given out, of its heap and beside it; skips where it cannot tell."""
    tell = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if tell is None:
        pytest.skip("needs glibc 2.33 or later")
    tell.restype = Heap
    return tell()


def test_memory_does_not_grow_with_the_clip(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    peaks, held = [], []  # megabytes of the process, kilobytes of tensors, arrays and all else that is in use
    motion = turning(48)  # in 5 windows of 8 new frames and a last one
    for frame, _ in enumerate(animator(portrait, motion, stream_landmarks(portrait, motion))):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if frame in (20, 36):  # two windows later, at the same place
            gc.collect()
            held.append((heap().uordblks + heap().hblkhd) / 1024)

    assert peaks[-1] - peaks[20] < 23  # over 3.4 windows
    assert held[1] - held[0] < 36  # what one window keeps for the next of a single state; its pictures take 1200


def test_large_blocks_are_kept_out_of_the_heap() -> None:
    size, before = 30 * 2**20, heap().hblkhd

    assert keep_heap_whole()
    np.empty(size + 2**20, np.uint8)  # once this is freed, glibc by itself would take smaller ones from its heap
    blocks = [np.empty(size, np.uint8) for _ in range(10)]

    assert heap().hblkhd - before >= len(blocks) // 2 * size  # a hole from before may have held some


def test_a_heap_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")

    assert not keep_heap_whole()


def test_a_folder_is_told_by_what_lies_in_it(tiny: Path, tmp_path: Path) -> None:
    assert isinstance(load_animator(str(tiny)), SkyReelsAnimator)
    with pytest.raises(WeightsMissing, match="no animator's checkpoint") as caught:
        load_animator(str(tmp_path))
    assert "pose_guider" in caught.value.hint
    with pytest.raises(ValueError, match="skyreels-a1"):
        load_animator("no such")


def test_the_public_model_has_a_name_and_is_not_fetched_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TALKINGHEAD_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(WeightsMissing, match=r"Skywork/SkyReels-A1.*switched off"):
        TalkingHead.from_pretrained("skyreels-a1", device="cpu")


def test_the_command_line_makes_a_clip_as_long_as_the_sound(
    tiny: Path, tmp_path: Path, write_speech: Callable[[float], Path]
) -> None:
    image = tmp_path / "face.png"
    from PIL import Image

    Image.fromarray(astronaut()).save(image)
    sound, clip = write_speech(1.5), tmp_path / "clip.mp4"

    result = CliRunner().invoke(app, ["speak", str(image), str(sound), "--animator", str(tiny), "-o", str(clip)])

    assert result.exit_code == 0, result.output
    video = open_video(clip)
    assert video.fps == 12
    assert len(list(video.frames())) == 18
    assert abs(Speech.of(clip).duration - 1.5) < 0.05


@pytest.fixture
def write_speech(tmp_path: Path) -> Callable[[float], Path]:
    import soundfile

    def write(seconds: float) -> Path:
        path = tmp_path / "speech.wav"
        soundfile.write(path, demo_speech().samples[: int(seconds * SAMPLE_RATE)], SAMPLE_RATE)
        return path

    return write


def test_parts_can_be_used_alone(animator: SkyReelsAnimator, portrait: Portrait) -> None:
    framing = animator.frame(portrait)
    picture = framing.fit(portrait.image)
    from talkinghead.animators.dit.conditioning import encode_reference

    reference = encode_reference(animator.networks, picture, portrait.image, picture)
    made = list(stream_pictures(animator.networks, reference, [Driving(picture)], 1, QUICK))

    assert made[0].shape == picture.shape
