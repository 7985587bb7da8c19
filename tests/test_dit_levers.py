"""What makes the video transformer faster or smaller: each against the plain path, on a tiny random checkpoint."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from talkinghead.animators.dit.benchmark import main
from talkinghead.animators.dit.classifier_free import Guided
from talkinghead.animators.dit.conditioning import encode_reference
from talkinghead.animators.dit.loading import open_networks
from talkinghead.animators.dit.memory import offload, place
from talkinghead.animators.dit.networks import Networks
from talkinghead.animators.dit.sampling import Sampling, Start, decode, denoise, prepare
from talkinghead.animators.dit.speed import Speed, hasten, replica
from talkinghead.animators.dit.transformer import context_parallel_plan
from talkinghead.animators.dit.windows import Driving, stream_pictures
from talkinghead.types import Frame

from .dit_tiny import FRAMES, HEIGHT, WIDTH, write_checkpoint

SAME = 1e-5  # what other orders of the same sums may change


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), layers=3)


@pytest.fixture
def networks(tiny: Path) -> Networks:
    return open_networks(tiny)


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def begin(networks: Networks) -> Start:
    reference = encode_reference(networks, picture(0), picture(1, 512, 512), picture(2))
    drawings = [reference.drawing, *(picture(10 + index) for index in range(FRAMES - 1))]
    return prepare(networks, reference, drawings, torch.Generator().manual_seed(0))


def latents(networks: Networks, settings: Sampling | None = None, **options: Any) -> torch.Tensor:
    return denoise(networks, begin(networks), settings or Sampling(), torch.Generator().manual_seed(1), **options)


@pytest.fixture(scope="module")
def plain(tiny: Path) -> torch.Tensor:
    return latents(open_networks(tiny))


def apart(given: torch.Tensor, plain: torch.Tensor) -> float:
    """Relative distance: root mean square of the difference over that of the plain latents."""
    return float((given - plain).norm() / plain.norm())


@contextmanager
def counted(module: Any, name: str = "forward") -> Iterator[list[int]]:
    """The batch sizes with which a method of `module` is called."""
    calls: list[int] = []
    original = getattr(module, name)

    def count(*arguments: Any, **options: Any) -> Any:
        first = arguments[0] if arguments else options["hidden_states"]
        calls.append(len(first))
        return original(*arguments, **options)

    setattr(module, name, count)
    try:
        yield calls
    finally:
        setattr(module, name, original)


def faster(networks: Networks, speed: Speed) -> Networks:
    hasten(networks.transformer, speed)
    return networks


EXACT: dict[str, Callable[[Networks], torch.Tensor]] = {
    "sequential guidance": lambda n: latents(n, Sampling(batching="sequential")),
    "guidance in all steps": lambda n: latents(n, Sampling(guided=1.0)),
    "guidance on two devices": lambda n: latents(
        n, guide=Guided(n.transformer, 3.0, replica=replica(n.transformer, "cpu"))
    ),
    "dispatched attention": lambda n: latents(faster(n, Speed(attention="native"))),
    "first-block cache at threshold 0": lambda n: latents(faster(n, Speed(cache="first_block", threshold=0))),
    "the same, halves in turn": lambda n: latents(
        faster(n, Speed(cache="first_block", threshold=0)), Sampling(batching="sequential")
    ),
}


@pytest.mark.parametrize("lever", EXACT)
def test_exact_levers_give_the_plain_latents(lever: str, networks: Networks, plain: torch.Tensor) -> None:
    assert float((EXACT[lever](networks) - plain).abs().max()) <= SAME


@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_compiled_blocks_give_the_plain_latents(networks: Networks, plain: torch.Tensor) -> None:
    hasten(networks.transformer, Speed(compile=True, compiler="eager"))

    assert float((latents(networks) - plain).abs().max()) <= SAME
    assert networks.transformer._repeated_blocks == ["CogVideoXBlock"]


def test_sequential_guidance_halves_the_batch(networks: Networks) -> None:
    with counted(networks.transformer) as calls:
        latents(networks, Sampling(batching="sequential"))

    assert calls == [1] * 20


def test_guidance_in_a_part_of_the_steps_saves_work_and_stays_near(networks: Networks, plain: torch.Tensor) -> None:
    with counted(networks.transformer) as calls:
        half = latents(networks, Sampling(guided=0.5))

    assert calls == [2] * 5 + [1] * 5
    assert 0 < apart(half, plain) < apart(latents(networks, Sampling(guidance=1)), plain)


def test_the_first_block_cache_skips_blocks_and_stays_near(networks: Networks, plain: torch.Tensor) -> None:
    hasten(networks.transformer, Speed(cache="first_block", threshold=0.2))
    with counted(networks.transformer.transformer_blocks[-1].attn1) as calls:
        cached = latents(networks)

    assert len(calls) < 10
    assert 0 < apart(cached, plain) < 0.3


def test_pyramid_attention_skips_attention_and_stays_near(networks: Networks, plain: torch.Tensor) -> None:
    hasten(networks.transformer, Speed(cache="pab"))
    with counted(networks.transformer.transformer_blocks[0].attn1.to_q) as calls:
        cached = latents(networks)

    assert len(calls) < 10
    assert 0 < apart(cached, plain) < 0.3


def test_caches_start_afresh_in_every_window_and_where_guidance_ends(networks: Networks) -> None:
    for speed in (Speed(cache="first_block", threshold=0.2), Speed(cache="pab")):
        hasten(networks.transformer, speed)
        once, again = (latents(networks, Sampling(guided=0.5)) for _ in range(2))
        networks.transformer.disable_cache()

        assert torch.equal(once, again)


def test_pyramid_attention_is_refused_where_it_would_mix_the_halves(networks: Networks) -> None:
    hasten(networks.transformer, Speed(cache="pab"))

    with pytest.raises(ValueError, match="batched"):
        latents(networks, Sampling(batching="sequential"))


def test_the_stock_processor_ignores_backends_and_ours_does_not(networks: Networks) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        hasten(networks.transformer, Speed(attention="no such"))
    hasten(networks.transformer, Speed(attention="_native_math"))

    processors = set(networks.transformer.attn_processors.values())

    assert {str(processor._attention_backend.value) for processor in processors} == {"_native_math"}


def test_offloaded_layers_give_the_plain_latents(networks: Networks, plain: torch.Tensor) -> None:
    for module in (networks.transformer, networks.vae, networks.landmark_encoder, networks.face_encoder):
        offload(module, torch.device("cpu"))

    assert float((latents(networks) - plain).abs().max()) <= SAME


def test_low_memory_keeps_8_bits_a_weight_and_stays_near(networks: Networks, plain: torch.Tensor) -> None:
    place(networks, "cpu", "low")

    kept = networks.transformer.transformer_blocks[0].ff.net[2].weight
    assert kept.dtype == torch.float8_e4m3fn
    assert 0 < apart(latents(networks), plain) < 0.1


def test_a_tiled_decoder_stays_near(networks: Networks, plain: torch.Tensor) -> None:
    whole = decode(networks.vae, plain)
    networks.vae.enable_tiling()

    tiled = decode(networks.vae, plain)

    assert 0 < float(np.abs(tiled - whole).mean()) < 0.05


def test_the_portrait_is_encoded_once_and_each_drawing_in_its_window(networks: Networks) -> None:
    with (
        counted(networks.vae, "encode") as pictures,
        counted(networks.landmark_encoder, "encode") as drawings,
        counted(networks.face_projection) as faces,
    ):
        reference = encode_reference(networks, picture(0), picture(1, 512, 512), picture(2))
        driving = [Driving(picture(10 + index)) for index in range(30)]
        list(stream_pictures(networks, reference, driving, 30, Sampling(steps=2)))

    assert (len(pictures), len(drawings), len(faces)) == (1, 3, 2)


def test_the_context_parallel_plan_names_modules_that_exist(networks: Networks) -> None:
    names = {name for name, _ in networks.transformer.named_modules()}

    plan = context_parallel_plan(3)

    assert all(name.replace("*", "0") in names for name in plan)
    assert "transformer_blocks.2" in plan


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: Speed(cache="magic"), "cache must be"),  # type: ignore[arg-type]
        (lambda n: Speed(threshold=-1), "threshold must be"),
        (lambda n: place(n, "cpu", "tiny"), "memory must be"),  # type: ignore[arg-type]
        (lambda n: replica(hasten(n.transformer, Speed(cache="pab")), "cpu"), "before its cache"),
    ],
)
def test_senseless_levers_are_refused(networks: Networks, make: Callable[[Networks], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(networks)


def test_the_benchmark_runs_on_a_small_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.json"

    main(["--tiny", "--device", "cpu", "--steps", "2", "--only", "ours", "attention: flash", "-o", str(output)])

    results = {result["name"]: result for result in json.loads(output.read_text())["results"]}
    assert results["stock diffusers"]["seconds"] > 0
    assert results["ours"]["seconds"] > 0
    assert results["ours"]["floor"] is None  # of another size
    assert results["attention: flash"]["error"]  # not on a CPU
    assert "| ours |" in capsys.readouterr().out
