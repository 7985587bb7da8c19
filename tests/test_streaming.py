"""Sound that comes in pieces: features and motion are those of the whole, a fifth of a second later."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from talkinghead import TalkingHead
from talkinghead.audio_encoder import SILENCE, WhisperConfig, WhisperEncoder
from talkinghead.blendshapes import INDEX
from talkinghead.demo import demo_speech
from talkinghead.motion.articulation import lip_gap
from talkinghead.motion.faceformer import CHANNELS, FaceFormer, FaceFormerConfig
from talkinghead.motion.generator import WORTH_COMPILING, FaceFormerGenerator
from talkinghead.motion.phones import PHONE_INDEX, PHONES
from talkinghead.motion.steps import Stepper
from talkinghead.types import Array, Speech

NEAR = WhisperConfig(n_ctx=100, n_state=16, n_head=2, n_layer=2, overlap=20, ahead=3, behind=30)
FORMER = FaceFormerConfig(features=16, width=16, heads=2, layers=2, period=5, window=12, styles=2, phones=len(PHONES))


@pytest.fixture(scope="module", params=[None, 25.0], ids=["plain", "adaptive"])
def encoder(request: pytest.FixtureRequest) -> WhisperEncoder:
    config = replace(NEAR, adapt=request.param)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WhisperEncoder(config, config.build())


@pytest.fixture(scope="module")
def network() -> FaceFormer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = FaceFormer(FORMER).eval()
        torch.nn.init.normal_(made.predict.weight, std=0.05)
        made.scale.uniform_(0.02, 0.1)
        return made


def noise(seconds: float, seed: int = 0) -> Array:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * 16_000))).astype(np.float32)


def heard_in_pieces(encoder: WhisperEncoder, samples: Array, size: int) -> tuple[Array, int]:
    """The features of `samples` in pieces of `size`, and the most samples that were remembered."""
    state, features, most = SILENCE, [], 0
    for begin in range(0, len(samples), size):
        piece, state = encoder.hear(samples[begin : begin + size], state, last=begin + size >= len(samples))
        features.append(piece)
        most = max(most, len(state.samples))
    return np.concatenate(features), most


@pytest.mark.parametrize("seconds", [0.01, 0.2, 1.0, 5.0, 60.0])
def test_features_of_pieces_are_those_of_the_whole(encoder: WhisperEncoder, seconds: float) -> None:
    samples = noise(7.013)

    features, most = heard_in_pieces(encoder, samples, int(seconds * 16_000))

    whole = encoder(Speech(samples))
    assert features.shape == whole.shape
    assert np.abs(features - whole).max() < 1e-5
    assert most < 16_000 * 2 * 2 + 16_000 * seconds  # two windows, and the piece


def test_a_feature_is_given_when_the_sound_it_needs_is_there(encoder: WhisperEncoder) -> None:
    samples = noise(3)

    features, state = encoder.hear(samples)

    assert encoder.look_ahead == pytest.approx((3 * 2 * 320 + 200) / 16_000)
    assert len(features) == state.done == int((3 - encoder.look_ahead) * 50)
    changed = samples.copy()
    changed[int((state.done / 50 + encoder.look_ahead) * 16_000) + 1 :] = 0
    assert np.abs(encoder.hear(changed)[0] - features).max() < 1e-5


def test_an_encoder_of_whole_windows_cannot_hear_pieces() -> None:
    config = WhisperConfig(n_ctx=50, n_state=8, n_head=2, n_layer=1, overlap=10)

    with pytest.raises(ValueError, match="whole windows"):
        WhisperEncoder(config, config.build()).hear(noise(1))


@torch.inference_mode()
def test_compiled_steps_are_the_networks_own(network: FaceFormer) -> None:
    random = np.random.default_rng(0)
    frames = 40
    sound = torch.from_numpy(random.standard_normal((1, 4 + 2 * frames + 3, 16)).astype(np.float32))
    style = random.uniform(0.5, 1.5, (frames, 2)).astype(np.float32)
    heard, first = network.listen(sound), np.zeros(CHANNELS, np.float32)

    made, past = network.generate(heard, torch.zeros(1, 1, CHANNELS), network.start(), torch.from_numpy(style)[None])
    stepper = Stepper(network)
    stepped, stepped_past = stepper.generate(heard, first, network.start(), style)
    begun, halfway = stepper.generate(heard.frames(0, 17), first, network.start(), style[:17])
    ended, _ = stepper.generate(heard.frames(17, frames), begun[-1], halfway, style[17:])

    assert made.std() > 0.001
    assert np.abs(stepped - made[0].numpy()).max() < 1e-5
    assert np.abs(np.concatenate([begun, ended]) - stepped).max() < 1e-6
    assert stepped_past.frame == past.frame == frames
    assert torch.allclose(stepped_past.layers[1], past.layers[1], atol=1e-5)


def test_long_motion_is_made_by_compiled_steps_and_is_the_same(network: FaceFormer) -> None:
    generator = FaceFormerGenerator(network)
    features = np.random.default_rng(0).standard_normal((2 * WORTH_COMPILING, 16)).astype(np.float32)

    whole = generator(features)
    begun = generator(features[:400], ahead=features[400:404])
    ended = generator(features[400:], after=begun)

    assert np.abs(np.concatenate([begun.expression, ended.expression]) - whole.expression).max() < 1e-4


def test_style_moves_the_face_and_neutral_style_is_none(network: FaceFormer) -> None:
    generator = FaceFormerGenerator(network)
    features = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
    neutral = np.ones((30, 2), np.float32)

    plain = generator(features)

    assert np.array_equal(generator(features, style=neutral).expression, plain.expression)
    assert not np.allclose(generator(features, style=1.4 * neutral).expression, plain.expression, atol=1e-3)
    with pytest.raises(ValueError, match="style must have shape"):
        generator(features, style=neutral[:5])
    with pytest.raises(ValueError, match="without styles"):
        FaceFormerGenerator(FaceFormer(FaceFormerConfig(features=16, width=16, heads=2)))(features, style=neutral)


def test_lips_are_shut_where_a_bilabial_is_heard_for_sure(network: FaceFormer) -> None:
    generator = FaceFormerGenerator(network)
    assert network.phones is not None
    features = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    with torch.no_grad():
        network.predict.bias[INDEX["jawOpen"]] = 0.4 / network.scale[INDEX["jawOpen"]]  # an open mouth
        network.phones.weight[PHONE_INDEX["p"], 0] = 8.0  # the first number of a feature says p
    sure = generator.phones(features)[:, PHONE_INDEX["p"]].reshape(-1, 2).max(axis=1) > generator.network.config.seal[1]

    gap = lip_gap(generator(features).expression)

    assert 10 < sure.sum() < 90
    assert gap[sure].max() < 0.001
    assert gap[~sure].max() > 0.5


@pytest.fixture(scope="module")
def head() -> TalkingHead:
    return TalkingHead.from_pretrained(device="cpu")


@pytest.mark.parametrize("seconds", [0.2, 1.0, 5.0])
def test_motion_of_pieces_is_that_of_the_whole(head: TalkingHead, seconds: float) -> None:
    speech = demo_speech()
    size = int(seconds * 16_000)
    chunks = [speech.samples[begin : begin + size] for begin in range(0, len(speech.samples), size)]
    options = {"seed": 3, "style": [(0.0, "neutral"), (3.0, "enunciate")], "mood": [(0.0, "calm"), (4.0, "happy")]}

    pieces = list(head.stream_motion(chunks, **options))
    whole = head.motion(speech, **options)

    assert len(pieces) == len(chunks) + 1
    assert sum(map(len, pieces)) == len(whole)
    for name in ("expression", "rotation", "translation"):
        together = np.concatenate([getattr(piece, name) for piece in pieces])
        assert np.abs(together - getattr(whole, name)).max() < 1e-3, name


def test_a_frame_comes_a_fifth_of_a_second_after_its_sound(head: TalkingHead) -> None:
    chunks = np.array_split(demo_speech().samples, 30)

    heard, made = 0, 0
    for chunk, piece in zip(chunks, head.stream_motion(iter(chunks)), strict=False):
        heard, made = heard + len(chunk), made + len(piece)
        assert made >= int((heard / 16_000 - 0.2) * 25)
    assert heard == len(demo_speech().samples)


def test_sound_of_another_rate_is_streamed_without_seams(head: TalkingHead) -> None:
    import soxr

    speech = demo_speech()
    chunks = np.array_split(soxr.resample(speech.samples, 16_000, 24_000), 25)

    pieces = list(head.stream_motion(chunks, 24_000))

    expression = np.concatenate([piece.expression for piece in pieces])
    whole = head.motion(speech).expression
    assert abs(len(expression) - len(whole)) <= 1
    frames = min(len(expression), len(whole))
    assert np.corrcoef(lip_gap(expression[:frames]), lip_gap(whole[:frames]))[0, 1] > 0.99


def test_wrong_chunks_are_refused(head: TalkingHead) -> None:
    with pytest.raises(TypeError, match="chunk"):
        list(head.stream_motion([np.zeros(100, np.int16)]))  # type: ignore[list-item]
