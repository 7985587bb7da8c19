"""Training: examples, losses, one clip learned by heart, runs taken up where they stopped, settings checked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkinghead.audio_encoder import WhisperConfig, WhisperEncoder
from talkinghead.blendshapes import INDEX
from talkinghead.errors import InputError, OutputExists
from talkinghead.motion.faceformer import FaceFormerConfig
from talkinghead.motion.generator import FaceFormerGenerator
from talkinghead.motion.phones import PHONE_INDEX, PHONES
from talkinghead.training.batches import Example, Hearing, as_batch, batch_of, read_corpus, window_of
from talkinghead.training.losses import LossWeights, MotionLoss, mouth_shape_of_expression
from talkinghead.training.model import MotionModel
from talkinghead.training.report import validate
from talkinghead.training.train import TrainConfig, train_motion
from talkinghead.types import Speech
from talkinghead.weights import read_folder, read_torch

FLOOR = -0.5
SMALL = TrainConfig(
    steps=4,
    batch=2,
    warmup=2,
    save_every=2,
    encoder=WhisperConfig(n_ctx=50, n_state=32, n_head=2, n_layer=1, overlap=10),
    faceformer=FaceFormerConfig(features=32, width=32, heads=2, layers=1, window=20, styles=2, phones=len(PHONES)),
)
RECIPES = sorted((Path(__file__).parents[1] / "configs").glob("faceformer_*.yaml"))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def speaking(tokens: int, seed: int = 0) -> Example:
    """A clip whose mels say which of three phones sounds: rest, a vowel that opens the jaw, or lips that round."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.concatenate([rng.permutation(3) for _ in range(tokens // 24 + 1)]), 8)[:tokens]
    mel = np.full((tokens, 80), FLOOR, np.float32)
    for phone, bands in ((1, slice(5, 30)), (2, slice(40, 70))):
        mel[which == phone, bands] = 0.8
    expression = np.zeros((tokens, 52), np.float16)
    expression[which == 1, INDEX["jawOpen"]] = 0.3
    expression[which == 2, INDEX["mouthPucker"]] = 0.6
    phones = np.array([PHONE_INDEX[phone] for phone in ("sil", "aa", "uw")], np.uint8)[which]
    return Example(
        "drawn", np.repeat(mel, 2, axis=0).astype(np.float16), expression, np.zeros((tokens, 6), np.float16), phones,
        np.ones((tokens, 2), np.float16),
    )  # fmt: skip


def write_corpus(folder: Path, **splits: list[Example]) -> Path:
    """A corpus folder in the format of `talkinghead corpus`."""
    folder.mkdir(exist_ok=True)
    shards = []
    for split, clips in splits.items():
        file = f"drawn-{split}.npz"
        shards.append({"file": file, "voice": "drawn", "split": split, "seconds": sum(map(len, clips)) / 50})
        tracks = {name: np.concatenate([getattr(clip, name) for clip in clips]) for name in
                  ("mel", "expression", "pose", "phones", "style")}  # fmt: skip
        np.savez(folder / file, **tracks, lengths=np.array([len(clip) for clip in clips], np.int32))
    voices = {"drawn": {"licence": "none"}}
    manifest = {"settings": {"seed": 0}, "phones": list(PHONES), "voices": voices, "shards": shards}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    return write_corpus(folder, train=[speaking(120), speaking(77, 1)], validation=[speaking(90, 2)])


def test_a_corpus_is_read_clip_by_clip(corpus: Path) -> None:
    clips = read_corpus(corpus, "train")

    assert [len(clip) for clip in clips] == [120, 77]
    assert np.array_equal(clips[1].mel, speaking(77, 1).mel)
    assert np.array_equal(clips[0].phones, speaking(120).phones)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"shards": [{"split": "train"}]}', '{"shards": []}'])
def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)

    with pytest.raises(InputError, match="corpus") as raised:
        read_corpus(tmp_path, "train")

    assert "talkinghead corpus" in raised.value.hint


def test_a_shard_that_unpacks_to_too_much_is_not_unpacked(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkinghead.training.batches.MOST_SHARD", 10_000)

    with pytest.raises(InputError, match=r"not a speech corpus: it unpacks to .* more than the 10,000"):
        read_corpus(corpus, "train")


def test_a_window_reaches_into_silence_around_the_clip() -> None:
    clip = speaking(40)

    early, late = window_of(clip, -10, 30, FLOOR), window_of(clip, 30, 30, FLOOR)

    assert early.mel.shape == (60, 80)
    assert (early.mel[:20] == FLOOR).all()
    assert not early.motion[:10].any()
    assert np.allclose(early.motion[10:, :52], clip.expression[:20])
    assert np.array_equal(early.phones[10:], clip.phones[:20])
    assert np.allclose(late.mel[:20], clip.mel[60:], atol=1e-3)
    assert not late.motion[10:].any()
    assert np.allclose(late.before[:52], clip.expression[29])
    assert not early.before.any()


def test_frames_are_the_means_of_pairs_of_tokens() -> None:
    window = window_of(speaking(40), 0, 40, FLOOR)

    batch = as_batch([window])

    assert batch.mel.shape == (1, 80, 80)
    assert batch.frames.shape == (1, 20, 58)
    assert np.allclose(batch.frames[0, 3], window.motion[6:8].mean(axis=0))


def test_the_same_step_draws_the_same_examples() -> None:
    clips, shares = [speaking(120), speaking(77, 1)], np.array([0.6, 0.4])

    one, same, other = (
        batch_of(clips, shares, 4, 50, FLOOR, Hearing(), np.random.default_rng((0, step))) for step in (5, 5, 6)
    )

    assert torch.equal(one.mel, same.mel)
    assert torch.equal(one.motion, same.motion)
    assert not torch.equal(one.mel, other.mel)


def test_hearing_changes_sound_and_never_below_the_floor() -> None:
    rng = np.random.default_rng(0)
    mel = speaking(60).mel.astype(np.float32)

    heard = [Hearing().change(mel, FLOOR, rng) for _ in range(20)]

    assert all(each.min() >= FLOOR for each in heard)
    assert np.std([each.max() for each in heard]) > 0.03  # loudness
    assert len({each.tobytes() for each in heard}) == 20


def test_some_windows_hold_nobody_speaking_and_a_face_at_rest() -> None:
    rng = np.random.default_rng(0)

    batch = batch_of([speaking(120)], np.ones(1), 40, 50, FLOOR, Hearing(silent=0.5), rng)

    quiet = (batch.phones == PHONE_INDEX["sil"]).all(dim=1)
    assert 5 < quiet.sum() < 35
    assert not batch.motion[quiet].any()
    assert batch.mel[quiet].std() > 0  # noise, not only nothing


def test_the_loss_is_zero_for_the_truth_and_sees_lips_that_should_be_shut() -> None:
    shape = torch.from_numpy(mouth_shape_of_expression())
    loss = MotionLoss(LossWeights(), torch.full((58,), 0.1), shape, torch.tensor([0.4, 0.4]))
    shut, open_ = torch.zeros(1, 10, 58), torch.zeros(1, 10, 58)
    open_[..., INDEX["jawOpen"]] = 0.3
    ajar = torch.zeros(1, 10, 58)
    ajar[..., INDEX["jawOpen"]] = 0.05

    assert all(part == 0 for part in loss.motion(open_, open_).values())
    assert loss.motion(ajar, shut)["lips"] > 2 * loss.motion(open_ + ajar, open_)["lips"]


def test_jaw_opens_and_close_shuts_the_lips_of_the_face_model() -> None:
    shape = mouth_shape_of_expression()

    assert shape.shape == (52, 2)
    assert shape[INDEX["jawOpen"], 0] > 2
    assert shape[INDEX["mouthClose"], 0] < -2
    assert shape[INDEX["mouthSmileLeft"], 1] > 0.3
    assert shape[INDEX["mouthPucker"], 1] < -0.3


def test_a_clip_is_learned_by_heart(tmp_path: Path) -> None:
    clip = speaking(100)
    corpus = write_corpus(tmp_path / "corpus", train=[clip], validation=[clip])
    config = dataclasses.replace(
        SMALL,
        steps=250,
        batch=4,
        warmup=20,
        save_every=1000,
        learning_rate=5e-3,
        hearing=Hearing(level=(0, 0), tone=0, warp=(1, 1), mask=0, silent=0),
    )
    losses: list[float] = []

    out = train_motion(config, corpus, tmp_path / "out", report=lambda step, parts: losses.append(parts["total"]))

    assert np.mean(losses[-20:]) < 0.25 * np.mean(losses[:5])
    card = (out / "MODEL_CARD.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| other speech"))
    gap, _, jaw, pucker, _, phones = (float(cell) for cell in row.strip("|").split("|")[1:])
    assert min(gap, jaw, pucker) > 0.9  # free-running, not only with the true past
    assert phones > 0.9
    features = WhisperEncoder.open(out)(Speech(np.zeros(16_000, np.float32)))
    assert len(FaceFormerGenerator.open(out)(features)) == 25


def test_the_last_steps_are_averaged(tmp_path: Path, corpus: Path) -> None:
    def remember(step: int, _: dict[str, float]) -> None:
        if step > 1:  # the state saved after the step before
            steps.append(read_torch(tmp_path / "run" / "training.pt")["model"])

    steps: list[dict[str, torch.Tensor]] = []
    config = dataclasses.replace(SMALL, save_every=1, learning_rate=0.02, average=3, lowest_rate=1.0)
    run = train_motion(config, corpus, tmp_path / "run", report=remember)
    steps.append(read_torch(run / "training.pt")["model"])

    name = "faceformer.phones.weight"
    mean = torch.stack([step[name] for step in steps[-3:]]).mean(dim=0)
    kept = read_folder(run)[name]
    torch.testing.assert_close(kept.float(), mean, atol=1e-3, rtol=0)
    assert (steps[-1][name] - mean).abs().max() > 1e-2


@pytest.mark.parametrize("average", [0, 3])
def test_an_interrupted_run_ends_as_if_it_had_not_been(tmp_path: Path, corpus: Path, average: int) -> None:
    class Interrupt(Exception):
        pass

    def interrupt(step: int, _: dict[str, float]) -> None:
        if step == 3:
            raise Interrupt

    config = dataclasses.replace(SMALL, average=average)
    whole = train_motion(config, corpus, tmp_path / "whole")
    with pytest.raises(Interrupt):
        train_motion(config, corpus, tmp_path / "parts", report=interrupt)
    steps: list[int] = []
    parts = train_motion(config, corpus, tmp_path / "parts", report=lambda step, _: steps.append(step))

    assert steps == [3, 4]
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    assert (whole / "loss.csv").read_text() == (parts / "loss.csv").read_text()


def test_a_run_is_not_continued_with_other_settings(tmp_path: Path, corpus: Path) -> None:
    train_motion(dataclasses.replace(SMALL, steps=1), corpus, tmp_path / "run")

    with pytest.raises(InputError, match="other settings"):
        train_motion(dataclasses.replace(SMALL, steps=2), corpus, tmp_path / "run")


def test_the_seed_decides_and_the_global_generator_does_not(tmp_path: Path, corpus: Path) -> None:
    one = dataclasses.replace(SMALL, steps=2)
    torch.manual_seed(1)
    first = train_motion(one, corpus, tmp_path / "first")
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = train_motion(one, corpus, tmp_path / "second")
    third = train_motion(dataclasses.replace(one, seed=1), corpus, tmp_path / "third")

    weights = [(folder / "model.safetensors").read_bytes() for folder in (first, second, third)]
    assert weights[0] == weights[1] != weights[2]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_no_run_left_is_not_trained_over(tmp_path: Path, corpus: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"somebody's")

    with pytest.raises(OutputExists, match="no run left here"):
        train_motion(SMALL, corpus, tmp_path)

    assert weights.read_bytes() == b"somebody's"


def test_a_loss_is_computed_where_the_model_is() -> None:
    on_device = MotionLoss(
        LossWeights(), *(torch.ones(size, device="meta") for size in (58, (52, 2), 2))
    )  # a device without numbers, like a GPU that this machine lacks

    parts = on_device.motion(torch.zeros(2, 5, 58, device="meta"), torch.zeros(2, 5, 58, device="meta"))

    assert {part.device.type for part in parts.values()} == {"meta"}


def test_an_untrained_model_is_judged_as_one() -> None:
    model = MotionModel.seeded(SMALL.encoder, SMALL.faceformer, 0)
    torch.nn.init.normal_(model.faceformer.predict.weight, std=0.1)

    scores = validate(model, [speaking(100, seed) for seed in range(6)], 50, FLOOR)

    assert all(abs(scores[name]) < 0.6 for name in ("gap", "width", "jaw", "pucker"))
    assert scores["phones"] < 0.5
    assert model.training


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_in_the_repository_is_read(path: Path) -> None:
    assert TrainConfig.read(path).encoder.n_state > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step: 10", "unknown setting step"),
        ("steps: ten", "steps must be int"),
        ("steps: 0", "steps, batch, save_every, threads and warmup must be at least 1"),
        ("{steps: 4, average: 5}", "average must be 0 to steps"),
        ("encoder: {n_layer: 1000000000}", "n_layer must be 1 to 64"),
        ("encoder: {depth: 3}", "unknown setting depth"),
        ("faceformer: {features: 64}", r"faceformer\.features must be encoder\.n_state"),
        ("hearing: {warp: [1.0]}", "warp must be"),
        ("hearing: {mask_bands: 80}", "mask_bands must be 2 to 79"),
        ("encoder: {n_ctx: 6, overlap: 2}", r"above hearing\.mask_mels / 2"),
        ("[1, 2]", "must be a table of settings"),
        ("a: b: c", "mapping values"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=words):
        TrainConfig.read(path)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        TrainConfig.read(tmp_path / "none.yaml")
