"""How well a video follows its landmarks: measured, and shown by a tiny network that learns by heart."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from talkinghead.animators.dit.loading import open_networks
from talkinghead.errors import InputError
from talkinghead.training.dit.clips import Clip, ClipSettings
from talkinghead.training.dit.config import DitConfig, Stage
from talkinghead.training.dit.demonstration import Demonstration, demonstrate, fit_reader, judge, sample_all
from talkinghead.training.dit.following import MEASURES, Reader, following, measures
from talkinghead.training.dit.report import read_log
from talkinghead.training.dit.train import train_dit

from .dit_training import FRAMES, HEIGHT, TINY, WIDTH, face_at, write_clips

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return write_clips(tmp_path_factory.mktemp("blobs") / "clips", 3)


def test_a_reader_finds_the_face_in_pictures_and_noise_follows_nothing(clips: list[Clip]) -> None:
    pictures = [frame for clip in clips for frame in clip.pictures()]
    landmarks = np.concatenate([clip.landmarks() for clip in clips])
    reader = Reader.fit(pictures[9:], landmarks[9:])

    seen = following(reader(pictures[:9]), landmarks[:9])
    noise = following(default_rng(0).normal(size=(500, 4)), np.concatenate([landmarks] * 19)[:500])

    assert seen["x"] > 0.95
    assert seen["y"] > 0.95
    assert all(abs(noise[name]) < 0.15 for name in MEASURES)


def test_what_the_measures_measure() -> None:
    settings = ClipSettings(HEIGHT, WIDTH, FRAMES)
    landmarks = face_at(np.array([[24.0, 16], [26, 16], [24, 16], [24, 16]]), settings)
    landmarks[2, 14, 1] += 2  # the lower lip
    landmarks[3] = (landmarks[3] - 20) @ np.array([[0.995, 0.0998], [-0.0998, 0.995]], np.float32) + 20

    still, right, open_mouth, leaning = measures(landmarks)

    assert right[1] - still[1] == pytest.approx(2, abs=1e-3)
    assert open_mouth[0] > still[0] + 0.1
    assert leaning[3] - still[3] == pytest.approx(0.1, abs=1e-3)
    assert np.allclose(right[[0, 3]], still[[0, 3]], atol=1e-3)


def test_a_tiny_network_learns_by_heart_and_follows_landmarks_not_the_control(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 4)
    tiny = dataclasses.replace(TINY, autoencoder_steps=15, autoencoder_learning_rate=5e-3)
    stages = (Stage("video", ("patch_projection", "face_projection", "transformer"), 150, 4e-3),)
    config = DitConfig(
        checkpoint=None, tiny=tiny, stages=stages, batch=4, accumulate=1, warmup=10, schedule="cosine", save_every=500
    )

    model = train_dit(config, clips[0].folder, tmp_path / "out")

    losses = [loss for _, _, loss in read_log(model / "loss.csv")]
    networks = open_networks(model)
    samples = sample_all(networks, clips, Demonstration(steps=5, seeds=(0,)))
    (scores,) = judge(fit_reader(networks, clips), samples)
    own, control, driven = (np.mean([scores[kind][axis] for axis in "xy"]) for kind in ("own", "control", "driven"))
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    assert own > 0.85  # 0.97 when this was written, with a control of 0.06
    assert driven > 0.85
    assert control < 0.5
    assert scores["error"]["own"] < scores["error"]["control"]


def test_the_demonstration_is_for_tiny_networks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiny networks"):
        demonstrate(DitConfig(), tmp_path)
