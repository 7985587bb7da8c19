"""The video transformer against what the published pipeline gives for a tiny checkpoint: one window."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from talkinghead.animators.dit.conditioning import Reference, encode_reference
from talkinghead.animators.dit.face_tokens import face_pixels
from talkinghead.animators.dit.landmark_encoder import encode_drawings
from talkinghead.animators.dit.loading import load_face_encoder, open_networks
from talkinghead.animators.dit.networks import Networks
from talkinghead.animators.dit.sampling import Sampling, Start, decode, denoise, prepare
from talkinghead.animators.dit.transformer import predict
from talkinghead.animators.dit.windows import Driving, Join, Overlap, stream_pictures

from .dit_golden import TINY, distance, expected, needs_golden

pytestmark = needs_golden


@pytest.fixture(scope="module")
def networks() -> Networks:
    return open_networks(TINY)


def golden_reference(networks: Networks) -> Reference:
    golden = expected()
    return encode_reference(networks, golden["ref_image"], golden["aligned_face"], golden["control_video"][0])


def golden_start(networks: Networks) -> Start:
    drawings = list(expected()["control_video"])
    return prepare(networks, golden_reference(networks), drawings, torch.Generator().manual_seed(43))


def after(start: Start, networks: Networks, settings: Sampling, **options: Any) -> torch.Tensor:
    """Latents, with the generator where `prepare` left it."""
    generator = torch.Generator().manual_seed(43)
    prepare(networks, golden_reference(networks), list(expected()["control_video"]), generator)
    return denoise(networks, start, settings, generator, **options)


@pytest.fixture(scope="module")
def start(networks: Networks) -> Start:
    return golden_start(networks)


def test_golden_face_pixels_and_states(networks: Networks) -> None:
    golden = expected()

    pixels = face_pixels(golden["aligned_face"], networks.face_pixels)
    states = networks.face_encoder(pixel_values=pixels).last_hidden_state

    assert distance(pixels, golden["siglip_pixel_values"]) <= 1e-6
    assert distance(states, golden["siglip_last_hidden_state"]) <= 1e-4


def test_golden_face_encoder_out_of_a_file_that_also_holds_a_text_model() -> None:
    golden = expected()
    network, _ = load_face_encoder(TINY / "variants" / "siglip_full_model")

    with torch.no_grad():
        states = network(pixel_values=torch.from_numpy(golden["siglip_pixel_values"])).last_hidden_state

    assert distance(states, golden["siglip_last_hidden_state"]) <= 1e-4


def test_golden_face_tokens(networks: Networks, start: Start) -> None:
    golden, condition, project = expected(), start.condition, networks.transformer.patch_embed.text_proj

    assert distance(condition.tokens, golden["face_tokens_cond"]) <= 1e-4
    assert distance(condition.no_tokens, golden["face_tokens_uncond"]) <= 1e-4
    assert distance(project(condition.tokens), golden["text_proj_cond"]) <= 1e-4
    assert distance(project(condition.no_tokens), golden["text_proj_uncond"]) <= 1e-4


def test_golden_reference_noise_and_landmark_latents(start: Start) -> None:
    golden, condition = expected(), start.condition

    assert distance(condition.reference[:, :1], golden["ref_latents"]) <= 1e-4
    assert not condition.reference[:, 1:].any()
    assert distance(start.noise, golden["noise"]) <= 1e-6
    assert distance(condition.landmarks.permute(0, 2, 1, 3, 4), golden["landmark_latents"]) <= 1e-4


def test_golden_landmark_latents_of_50_drawings(networks: Networks) -> None:
    drawings = [expected()["control_video"][index] for index in (0, 1, *range(1, 49))]

    with torch.no_grad():
        latents = encode_drawings(networks.landmark_encoder, drawings, torch.device("cpu"), torch.float32)

    assert distance(latents.permute(0, 2, 1, 3, 4), expected()["landmark_latents_50frames"]) <= 1e-4


def test_golden_rotary_tables_and_timesteps(networks: Networks, start: Start) -> None:
    golden = expected()

    assert distance(start.condition.rotary[0], golden["rope_cos"]) <= 1e-6
    assert distance(start.condition.rotary[1], golden["rope_sin"]) <= 1e-6
    np.testing.assert_array_equal(Sampling().new_scheduler(networks).timesteps, golden["timesteps"])


def test_golden_first_step_outputs(networks: Networks, start: Start) -> None:
    golden, condition = expected(), start.condition
    timestep = torch.from_numpy(golden["first_step_timestep"])[:1]

    with torch.no_grad():
        with_face = predict(networks.transformer, start.noise, condition, condition.tokens, timestep)
        without = predict(networks.transformer, start.noise, condition, condition.no_tokens, timestep)

    assert distance(with_face, golden["first_step_out_cond"]) <= 1e-4
    assert distance(without, golden["first_step_out_uncond"]) <= 1e-4


def test_golden_latents_and_frames(networks: Networks, start: Start) -> None:
    golden = expected()
    states: list[Any] = []

    def keep(step: int, state: Any) -> Any:
        states.append(state)
        return state

    latents = after(start, networks, Sampling(), enter=keep)
    frames = decode(networks.vae, latents)

    assert distance(states[1], golden["latents_step0"]) <= 1e-3
    assert distance(states[5], golden["latents_step4"]) <= 1e-3
    assert distance(latents, golden["latents_final"]) <= 1e-3
    assert distance(frames, golden["frames"]) <= 1e-3


@pytest.mark.parametrize(
    ("settings", "name"),
    [(Sampling(scheduler="dpm"), "latents_final_dpm"), (Sampling(guidance=1), "latents_final_nocfg")],
    ids=["dpm", "unguided"],
)
def test_golden_latents_of_other_settings(networks: Networks, start: Start, settings: Sampling, name: str) -> None:
    assert distance(after(start, networks, settings), expected()[name]) <= 1e-3


def test_golden_tiled_decoder() -> None:
    golden, networks = expected(), open_networks(TINY)
    networks.vae.enable_tiling()

    start = golden_start(networks)
    latents = after(start, networks, Sampling())
    frames = decode(networks.vae, latents)

    assert distance(start.condition.reference[:, :1], golden["ref_latents_tiled"]) <= 1e-4
    assert distance(latents, golden["latents_final_tiled"]) <= 1e-3
    assert distance(frames[golden["frames_tiled_idx"]], golden["frames_tiled"]) <= 1e-3


def test_golden_bfloat16() -> None:
    golden, networks = expected(), open_networks(TINY, dtype=torch.bfloat16)

    start = golden_start(networks)
    latents = after(start, networks, Sampling())

    assert distance(start.condition.reference[:, :1], golden["bf16_ref_latents"]) <= 0.1
    assert distance(start.noise, golden["bf16_noise"]) <= 1e-6
    assert distance(start.condition.landmarks.permute(0, 2, 1, 3, 4), golden["bf16_landmark_latents"]) <= 0.1
    assert distance(latents, golden["bf16_latents_final"]) <= 0.3


def test_golden_long_video_latents_in_parity_mode(networks: Networks) -> None:
    golden, generator = expected("expected_long"), torch.Generator().manual_seed(43)
    control = golden["control_video"]
    reference = replace(golden_reference(networks), drawing=control[0])
    before: Overlap | None = None
    for index, first in enumerate(golden["window_start"]):
        driving = [control[1 + min(first + frame, 79)] for frame in range(48)]
        entered: list[Any] = []
        overlap = Overlap(2, 10, Join.PARITY, before)

        start = prepare(networks, reference, [control[0], *driving], generator)
        left: list[Any] = []

        def enter(step: int, state: Any, overlap: Overlap = overlap, left: Any = left, entered: Any = entered) -> Any:
            left.append(state)
            entered.append(overlap.enter(step, state))
            return entered[-1]

        latents = denoise(networks, start, Sampling(), generator, enter=enter)

        name = f"w{index}_"
        assert distance(start.condition.reference[:, :1], golden[name + "ref_latents"]) <= 1e-4
        assert distance(start.noise, golden[name + "noise"]) <= 1e-6
        assert distance(start.condition.landmarks.permute(0, 2, 1, 3, 4), golden[name + "landmark_latents"]) <= 1e-4
        assert distance(torch.cat(left[5:9]), golden[name + "latents_steps4to7"]) <= 1e-3
        assert distance(latents, golden[name + "latents_final"]) <= 1e-3
        if index:
            assert distance(torch.cat(entered[4:8])[:, :4], golden["w1_model_in_steps4to7"]) <= 1e-3
        before = overlap


def test_golden_long_video_frames_in_parity_mode(networks: Networks) -> None:
    golden = expected("expected_long")
    reference = replace(golden_reference(networks), drawing=golden["control_video"][0])
    driving = [Driving(drawing) for drawing in golden["control_video"][1:]]

    pictures = np.stack(list(stream_pictures(networks, reference, driving, 80, Sampling(), seed=43, join=Join.PARITY)))

    frames = np.rint(pictures * 255).astype(int)
    assert distance(frames, golden["frames_u8"]) <= 1
