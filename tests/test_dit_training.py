"""Training the video transformer: recipes, stages that freeze, runs taken up, what is made small."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkinghead.animators.dit.loading import open_networks
from talkinghead.animators.dit.networks import Networks
from talkinghead.errors import CheckpointMismatch, InputError, NumericalError
from talkinghead.training.dit.cache import encode_clip, encode_clips, read_encoded
from talkinghead.training.dit.clips import Clip, ClipSettings
from talkinghead.training.dit.config import PARTS, PUBLISHED, DitConfig, Stage
from talkinghead.training.dit.model import Batch, DitModel, part_of
from talkinghead.training.dit.report import read_log
from talkinghead.training.dit.train import Run, train_dit

from .dit_training import CONFIGS, FRAMES, HEIGHT, SMALL, WIDTH, tensors_of, write_clips

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return write_clips(tmp_path_factory.mktemp("blobs") / "clips", 3)


@pytest.fixture(scope="module")
def finished(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run through all stages leaves."""
    return train_dit(SMALL, clips[0].folder, tmp_path_factory.mktemp("run") / "out")


# Settings


def test_the_recipe_for_public_weights_has_the_published_steps_and_rates() -> None:
    recipe = DitConfig.read(CONFIGS / "dit_skyreels.yaml")

    assert recipe.stages == PUBLISHED
    assert [(stage.steps, stage.learning_rate) for stage in recipe.stages] == [(2000, 1e-5), (2000, 1e-5), (1000, 1e-6)]
    assert recipe.checkpoint == "Skywork/SkyReels-A1"


def test_the_tiny_recipe_teaches_a_video_model_and_then_goes_through_the_published_stages() -> None:
    recipe = DitConfig.read(CONFIGS / "dit_tiny.yaml")

    assert recipe.checkpoint is None
    assert [(stage.name, stage.parts) for stage in recipe.stages[1:]] == [(s.name, s.parts) for s in PUBLISHED]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step: 10", "unknown setting step"),
        ("batch: 0", "at least 1"),
        ("checkpoint: null", "one of checkpoint and tiny"),
        ("tiny: {frames: 9}", "one of checkpoint and tiny"),
        ("{checkpoint: null, tiny: {frames: 10}}", "frames must be 9, 17"),
        ("{checkpoint: null, tiny: {height: 60}}", "multiples of 8"),
        ("{checkpoint: null, tiny: {head_size: 12}}", "multiple of 8"),
        ("stages: []", "at least one stage"),
        ("stages: [{name: a, parts: [vae], steps: 1, learning_rate: 1.0e-5}]", "parts of stage a must be some of"),
        ("stages: [{name: a, parts: [], steps: 1, learning_rate: 1.0e-5}]", "parts of stage a"),
        ("stages: [{name: a, parts: [transformer], steps: 0, learning_rate: 1.0e-5}]", "steps of stage a"),
        ("precision: float16", "precision must be"),
        ("drop_face: 2", "drop_face 0 to 1"),
        ("[1]", "must be a table"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=words):
        DitConfig.read(path)


# Stages


def test_every_parameter_belongs_to_one_part_and_every_part_has_some(finished: Path) -> None:
    model = DitModel(open_networks(finished))

    named = {name: part_of(name) for name, _ in model.named_parameters()}

    assert set(named.values()) == set(PARTS)
    assert named["transformer.patch_embed.proj.weight"] == "patch_projection"
    assert named["transformer.patch_embed.text_proj.bias"] == named["face_projection.2.weight"] == "face_projection"
    assert named["transformer.transformer_blocks.0.attn1.to_q.weight"] == "transformer"


def test_a_stage_changes_its_parts_and_no_other_bit(clips: list[Clip], tmp_path: Path) -> None:
    for part in PARTS:
        config = dataclasses.replace(SMALL, stages=(Stage("only", (part,), 2, 1e-2),))
        run = Run(config, clips, tmp_path)  # the start is the same for all
        before = {name: value.detach().clone() for name, value in run.network.named_parameters()}
        frozen = {name: value.clone() for name, value in run.networks.vae.state_dict().items()}

        run.train_step()
        run.train_step()

        after = dict(run.network.named_parameters())
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert {part_of(name) for name in changed} == {part}
        assert all(torch.equal(frozen[name], value) for name, value in run.networks.vae.state_dict().items())
        held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
        assert held == {id(value) for name, value in after.items() if part_of(name) == part}


def test_later_stages_go_on_with_what_earlier_ones_trained(finished: Path, clips: list[Clip], tmp_path: Path) -> None:
    first = dataclasses.replace(SMALL, stages=SMALL.stages[:1])
    train_dit(first, clips[0].folder, tmp_path)

    start, one, all_stages = (tensors_of(folder) for folder in (finished / "start", tmp_path, finished))

    encoder = "pose_guider.encoder.conv_in.conv.weight"
    blocks = "transformer.transformer_blocks.0.attn1.to_q.weight"
    assert not torch.equal(start[encoder], one[encoder])
    assert torch.equal(start[blocks], one[blocks])
    assert not torch.equal(start[blocks], all_stages[blocks])
    assert all(
        torch.equal(start[name], all_stages[name]) for name in start if name.startswith(("vae.", "pose_guider.d"))
    )


def test_the_result_loads_like_a_public_checkpoint(finished: Path) -> None:
    networks = open_networks(finished)

    assert networks.canvas == (HEIGHT, WIDTH)
    assert networks.frames == FRAMES
    assert not list(finished.rglob(".*.part"))
    card = (finished / "MODEL_CARD.md").read_text()
    assert "| joint | landmark_encoder, patch_projection, face_projection, transformer | 1 | 0.001 |" in card
    assert (finished / "loss.png").read_bytes().startswith(b"\x89PNG")


# Runs


def test_a_run_that_was_interrupted_goes_on_exactly(
    finished: Path, clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for last in (3, 5):  # in the first stage, after a save; in the second, right after the first save in it

        def stop(step: int, loss: float, last: int = last) -> None:
            if step == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_dit(SMALL, clips[0].folder, tmp_path, report=stop)
    train_dit(SMALL, clips[0].folder, tmp_path)

    whole, pieces = tensors_of(finished), tensors_of(tmp_path)
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)
    assert (tmp_path / "loss.csv").read_text() == (finished / "loss.csv").read_text()
    assert [step for step, _, _ in read_log(tmp_path / "loss.csv")] == [1, 2, 3, 4, 5, 6]


def test_the_seed_decides_everything(clips: list[Clip], tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, stages=SMALL.stages[:1])
    first, same, other = (
        Run(dataclasses.replace(config, seed=seed), clips, tmp_path / name)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )

    losses = [run.train_step() for run in (first, same, other)]

    assert losses[0] == losses[1] != losses[2]


def test_a_finished_run_is_not_trained_again(finished: Path, clips: list[Clip]) -> None:
    steps: list[int] = []

    train_dit(SMALL, clips[0].folder, finished, report=lambda step, loss: steps.append(step))

    assert not steps


def test_a_folder_of_another_run_is_refused(finished: Path, clips: list[Clip], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with other settings"):
        train_dit(dataclasses.replace(SMALL, clip=2.0), clips[0].folder, finished)

    others = write_clips(tmp_path / "clips", 2, seed=1)
    with pytest.raises(InputError, match="on other clips"):
        train_dit(SMALL, others[0].folder, finished)


def test_clips_of_another_size_are_refused_with_what_to_do(finished: Path, tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips", 1, settings=ClipSettings(40, 48, 9))
    config = dataclasses.replace(SMALL, checkpoint=str(finished / "start"), tiny=None)

    with pytest.raises(InputError, match="48 x 40, and the model makes 9 of 48 x 32") as raised:
        train_dit(config, clips[0].folder, tmp_path / "out")

    assert raised.value.hint == "prepare them with --width 48 --height 32 --frames 9"


@pytest.mark.parametrize("lost", ["optimizer", "a weight"])
def test_a_damaged_state_is_told(lost: str, clips: list[Clip], tmp_path: Path) -> None:
    run = Run(dataclasses.replace(SMALL, stages=SMALL.stages[:1]), clips, tmp_path)
    run.train_step()
    run.save()
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    if lost == "optimizer":
        del state["optimizer"]
    else:
        state["weights"].popitem()
    torch.save(state, tmp_path / "training.pt")

    with pytest.raises(CheckpointMismatch, match="not a saved run"):
        run.resume()


def test_a_loss_that_is_not_finite_stops_the_run(clips: list[Clip], tmp_path: Path) -> None:
    run = Run(SMALL, clips, tmp_path)
    with torch.no_grad():
        run.network.transformer.patch_embed.proj.bias.fill_(float("nan"))

    with pytest.raises(NumericalError, match="lower the learning rate"):
        run.train_step()


# Loss


def batch_of(networks: Networks, clip: Clip) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (1, networks.latent_frames, 16, HEIGHT // 4, WIDTH // 4)
    latents, noise = (torch.randn(shape, generator=generator) for _ in range(2))
    faces = torch.randn(1, 4, 32, generator=generator)
    return Batch(latents, latents[:, :1], faces, [clip.drawings()], noise, torch.tensor([300]))


def test_what_is_predicted_is_what_the_scheduler_says(finished: Path, clips: list[Clip]) -> None:
    networks = open_networks(finished)
    model, batch = DitModel(networks), batch_of(networks, clips[0])
    alpha = networks.scheduler.alphas_cumprod[300]

    assert torch.allclose(model.target(batch), alpha**0.5 * batch.noise - (1 - alpha) ** 0.5 * batch.latents, atol=1e-5)
    for kind, wanted in (("epsilon", batch.noise), ("sample", batch.latents)):
        networks.scheduler.register_to_config(prediction_type=kind)
        assert torch.equal(model.target(batch), wanted)
    networks.scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="flow"):
        model.target(batch)


def test_the_loss_is_zero_for_the_right_velocity_only(
    finished: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = open_networks(finished)
    model, batch = DitModel(networks), batch_of(networks, clips[0])
    told = {}

    def right(transformer: Any, latents: Any, condition: Any, tokens: Any, timestep: Any) -> Any:
        told["latents"], told["reference"], told["timestep"] = latents, condition.reference, timestep
        return model.target(batch) + told.get("wrong", 0)

    monkeypatch.setattr("talkinghead.training.dit.model.predict", right)

    assert model(batch).item() == 0
    told["wrong"] = 0.5
    assert model(batch).item() == pytest.approx(0.25)
    alpha = networks.scheduler.alphas_cumprod[300]
    assert torch.allclose(told["latents"], alpha**0.5 * batch.latents + (1 - alpha) ** 0.5 * batch.noise, atol=1e-5)
    assert torch.equal(told["reference"][:, :1], batch.reference)
    assert not told["reference"][:, 1:].any()


def test_latents_and_tokens_are_encoded_once(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = Run(SMALL, clips, tmp_path).networks
    files = encode_clips(networks, clips, tmp_path / "cache")
    fresh = encode_clip(networks, clips[1].pictures(), clips[1].face())

    monkeypatch.setattr("talkinghead.training.dit.cache.encode_clip", None)

    assert encode_clips(networks, clips, tmp_path / "cache") == files
    assert all(torch.equal(one, other) for one, other in zip(read_encoded(files[1]), fresh, strict=True))
    with torch.no_grad():
        networks.vae.encoder.conv_in.conv.bias += 1
    with pytest.raises(TypeError):  # another network: it must be asked again
        encode_clips(networks, clips, tmp_path / "cache")


def test_drawings_are_encoded_once_while_their_encoder_is_frozen(clips: list[Clip], tmp_path: Path) -> None:
    frozen = Run(dataclasses.replace(SMALL, stages=SMALL.stages[1:2]), clips, tmp_path / "one")
    trained = Run(dataclasses.replace(SMALL, stages=SMALL.stages[:1]), clips, tmp_path / "other")
    chosen = np.array([2, 0])

    once, again, drawings = frozen._drawings(chosen), frozen._drawings(chosen), trained._drawings(chosen)

    assert isinstance(once, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    assert isinstance(drawings, list)
    assert torch.equal(once, again)
    assert set(frozen.held or {}) == {0, 2}
    with torch.no_grad():
        assert torch.equal(once, torch.cat([frozen.network.encode_drawings(some) for some in drawings]))
