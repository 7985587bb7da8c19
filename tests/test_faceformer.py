"""FaceFormer: one forward for training and generation, pieces, no longest length, and the generator around it."""

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from talkinghead.audio_encoder import WhisperEncoder
from talkinghead.blendshapes import INDEX
from talkinghead.errors import CheckpointMismatch, NumericalError
from talkinghead.motion.articulation import VISEMES, lip_gap
from talkinghead.motion.faceformer import CHANNELS, FaceFormer, FaceFormerConfig
from talkinghead.motion.generator import FaceFormerGenerator
from talkinghead.motion.phones import PHONE_INDEX, PHONES
from talkinghead.protocols import MotionGenerator
from talkinghead.training.losses import mouth_shape_of_expression
from talkinghead.types import Array, Motion, Speech
from talkinghead.weights import save_weights, write_config

TINY = FaceFormerConfig(features=8, width=16, heads=2, layers=2, period=5, window=12)


def network(config: FaceFormerConfig = TINY) -> FaceFormer:
    torch.manual_seed(0)
    made = FaceFormer(config).eval()
    torch.nn.init.normal_(made.predict.weight, std=0.05)
    return made


@pytest.fixture(scope="module")
def generator() -> FaceFormerGenerator:
    return FaceFormerGenerator(network())


def features(count: int, size: int = 8, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def joined(motions: list[Motion]) -> Array:
    return np.concatenate([np.concatenate([m.expression, m.rotation, m.translation], axis=1) for m in motions])


@torch.inference_mode()
def test_all_frames_at_once_are_the_frames_one_by_one() -> None:
    net = network()
    sound = torch.from_numpy(features(4 + 2 * 40 + 4))[None]
    heard = net.listen(sound)

    made, past = net.generate(heard, torch.zeros(1, 1, CHANNELS), net.start())
    previous = torch.cat([torch.zeros(1, 1, CHANNELS), made[:, :-1]], dim=1)
    at_once, past_at_once = net(heard, previous, net.start())

    assert made.std() > 0.01
    assert torch.allclose(at_once, made, atol=1e-5)
    assert past.frame == past_at_once.frame == 40
    assert torch.allclose(past.layers[1], past_at_once.layers[1], atol=1e-5)


@torch.inference_mode()
def test_frames_in_groups_are_the_frames_at_once() -> None:
    net = network()
    heard = net.listen(torch.from_numpy(features(4 + 2 * 40 + 4))[None])
    previous = torch.randn(1, 40, CHANNELS)
    at_once, _ = net(heard, previous, net.start())

    past, groups = net.start(), []
    for first, last in ((0, 1), (1, 8), (8, 9), (9, 33), (33, 40)):
        group, past = net(heard.frames(first, last), previous[:, first:last], past)
        groups.append(group)

    assert torch.allclose(torch.cat(groups, dim=1), at_once, atol=1e-5)


@torch.inference_mode()
def test_a_frame_depends_on_no_later_frame_and_on_no_sound_beyond_its_band() -> None:
    net = network()
    sound = torch.from_numpy(features(4 + 2 * 30 + 4))[None]
    previous = torch.randn(1, 30, CHANNELS)
    before, _ = net(net.listen(sound), previous, net.start())

    later = previous.clone()
    later[:, 20:] += 1
    other = sound.clone()
    other[:, 2 * 20 + TINY.band :] += 1
    after_frames, _ = net(net.listen(sound), later, net.start())
    after_sound, _ = net(net.listen(other), previous, net.start())

    assert torch.equal(after_frames[:, :20], before[:, :20])
    assert not torch.allclose(after_frames[:, 20:], before[:, 20:])
    assert torch.allclose(after_sound[:, :21], before[:, :21], atol=1e-6)
    assert not torch.allclose(after_sound[:, 21:], before[:, 21:])


@torch.inference_mode()
def test_frames_beyond_the_window_are_forgotten() -> None:
    net = network(FaceFormerConfig(features=8, width=16, heads=2, layers=1, period=5, window=12))
    heard = net.listen(torch.from_numpy(features(4 + 2 * 40 + 4))[None])
    previous = torch.randn(1, 40, CHANNELS)
    other = previous.clone()
    other[:, :10] += 1

    one, past = net(heard, previous, net.start())
    two, _ = net(heard, other, net.start())

    assert not torch.allclose(one[:, 10:21], two[:, 10:21])
    assert torch.allclose(one[:, 21:], two[:, 21:], atol=1e-6)
    assert past.layers[0].shape[3] == 11


@torch.inference_mode()
def test_several_speeches_at_once_are_each_alone() -> None:
    net = network()
    sound = torch.from_numpy(np.stack([features(28, seed=1), features(28, seed=2)]))

    both, _ = net.generate(net.listen(sound), torch.zeros(2, 1, CHANNELS), net.start(2))
    alone, _ = net.generate(net.listen(sound[1:]), torch.zeros(1, 1, CHANNELS), net.start(1))

    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_an_untrained_face_is_at_rest() -> None:
    motion = FaceFormerGenerator(FaceFormer(TINY))(features(50))

    assert not motion.expression.any()
    assert not motion.rotation.any()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 101])
def test_two_features_are_a_frame(generator: FaceFormerGenerator, count: int) -> None:
    assert len(generator(features(count))) == (count + 1) // 2


def test_the_generator_fits_its_protocol(generator: FaceFormerGenerator) -> None:
    part: MotionGenerator = generator

    assert part(features(4)).fps == 25


@pytest.mark.parametrize("cuts", [(100,), (2,), (2, 4, 6), (20, 22, 150), (40, 80, 120, 160, 198)])
def test_pieces_that_know_what_follows_join_to_the_whole(generator: FaceFormerGenerator, cuts: tuple[int, ...]) -> None:
    sound = features(200)
    edges = [0, *cuts, 200]

    pieces: list[Motion] = []
    for first, last in pairwise(edges):
        after = pieces[-1] if pieces else None
        pieces.append(generator(sound[first:last], after=after, ahead=sound[last:]))

    assert np.abs(joined(pieces) - joined([generator(sound)])).max() < 1e-4


def test_a_piece_without_what_follows_differs_in_its_last_two_frames_and_fades_after(
    generator: FaceFormerGenerator,
) -> None:
    sound = features(200)
    whole = joined([generator(sound)])

    first = generator(sound[:100])
    both = joined([first, generator(sound[100:], after=first)])

    assert np.abs(both - whole)[:48].max() < 1e-6
    assert np.abs(both - whole)[48:50].max() > 1e-6


def test_there_is_no_longest_length_and_what_is_remembered_does_not_grow() -> None:
    net = network(FaceFormerConfig(features=8, width=16, heads=2, layers=1, window=20))
    generator = FaceFormerGenerator(net)

    after = None
    for _ in range(6):
        after = generator(features(1000), after=after)

    assert after is not None
    assert after.state.past.frame == 3000
    assert sum(layer.numel() for layer in after.state.past.layers) == 2 * 16 * 19


def test_nothing_heard_changes_nothing(generator: FaceFormerGenerator) -> None:
    nothing = generator(features(0))

    after = generator(features(30), after=nothing)

    assert np.array_equal(after.expression, generator(features(30)).expression)
    assert len(generator(features(0), after=after)) == 0


def test_continuing_needs_the_generators_own_motion(generator: FaceFormerGenerator) -> None:
    with pytest.raises(ValueError, match="after must be a motion that this generator made"):
        generator(features(4), after=Motion.still(5))
    with pytest.raises(ValueError, match="even number of features"):
        generator(features(4), after=generator(features(5)))


def test_wrong_features_are_refused(generator: FaceFormerGenerator) -> None:
    with pytest.raises(ValueError, match="features must have shape"):
        generator(features(4, size=9))
    with pytest.raises(TypeError, match="features must be a NumPy array of float32"):
        generator(features(4).astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ahead must have shape"):
        generator(features(4), ahead=features(4, size=9))


def test_features_that_are_not_finite_are_an_error(generator: FaceFormerGenerator) -> None:
    sound = features(40)
    sound[30, 2] = np.nan

    with pytest.raises(NumericalError, match="features"):
        generator(sound)


def test_motion_that_is_not_finite_names_the_frame() -> None:
    net = network()
    generator = FaceFormerGenerator(net)
    torch.nn.init.constant_(net.predict.bias, float("inf"))

    with pytest.raises(NumericalError, match="motion generator: frame 0"):
        generator(features(10))


def test_expression_stays_in_its_range() -> None:
    net = network()
    torch.nn.init.normal_(net.predict.weight, std=5)

    expression = FaceFormerGenerator(net)(features(50)).expression

    assert expression.min() == 0
    assert expression.max() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 10**9}, {"width": 10**6}, {"features": 0}, {"width": 30, "heads": 4}, {"window": 1},
        {"window": 10**9}, {"behind": -1}, {"ahead": 0}, {"period": 0}, {"heads": 0},
    ],
)  # fmt: skip
def test_impossible_dimensions_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        FaceFormerConfig(**change)


def test_a_generator_is_read_from_its_folder(tmp_path: Path, generator: FaceFormerGenerator) -> None:
    write_config(tmp_path / "config.json", {"faceformer": TINY.__dict__})
    save_weights(tmp_path / "model.safetensors", {"faceformer": generator.network}, half=False)

    again = FaceFormerGenerator.open(tmp_path)

    kept = generator.network.state_dict()
    assert all(torch.equal(weight, kept[name]) for name, weight in again.network.state_dict().items())
    assert np.abs(again(features(30)).expression - generator(features(30)).expression).max() < 1e-6

    write_config(tmp_path / "config.json", {"faceformer": {**TINY.__dict__, "layers": 3}})
    with pytest.raises(CheckpointMismatch, match=r"layers\.2\S* is missing"):
        FaceFormerGenerator.open(tmp_path)


@pytest.fixture(scope="module")
def micro() -> tuple[WhisperEncoder, FaceFormerGenerator]:
    return WhisperEncoder.open("micro"), FaceFormerGenerator.open("micro")


def test_the_shipped_mouth_is_shut_in_silence(micro: tuple[WhisperEncoder, FaceFormerGenerator]) -> None:
    encoder, generator = micro
    noise = 1e-4 * np.random.default_rng(0).standard_normal(10 * 16_000)

    for samples in (np.zeros(10 * 16_000), noise):  # digital silence, and a microphone at -80 dB
        motion = generator(encoder(Speech(samples.astype(np.float32))))
        gap = motion.expression @ mouth_shape_of_expression()[:, 0]
        assert gap.max() < 0.1  # centimetres; a syllable opens about 1
        assert motion.expression[:, INDEX["jawOpen"]].max() < 0.05


def test_the_shipped_weights_make_4_s_in_two_pieces_as_in_one(
    micro: tuple[WhisperEncoder, FaceFormerGenerator],
) -> None:
    encoder, generator = micro
    sound = 0.1 * np.random.default_rng(1).standard_normal(4 * 16_000).astype(np.float32)
    sound *= np.repeat(np.random.default_rng(2).uniform(0, 1, 40), 1600).astype(np.float32)
    heard = encoder(Speech(sound))

    first = generator(heard[:100], ahead=heard[100:])
    second = generator(heard[100:], after=first)

    assert len(first) == len(second) == 50
    assert np.abs(joined([first, second]) - joined([generator(heard)])).max() < 1e-4


def test_a_generator_and_its_motion_can_be_sent_to_another_process(generator: FaceFormerGenerator) -> None:
    sound = features(40)
    first = generator(sound[:20])

    again, motion = pickle.loads(pickle.dumps((generator, first)))

    assert np.array_equal(again(sound[20:], after=motion).expression, generator(sound[20:], after=first).expression)


def test_making_frames_leaves_the_number_of_threads_alone(generator: FaceFormerGenerator) -> None:
    before = torch.get_num_threads()

    generator(features(20))

    assert torch.get_num_threads() == before


def test_lips_are_shut_where_silence_is_sure() -> None:
    net = network(replace(TINY, phones=len(PHONES)))
    assert net.phones is not None
    with torch.no_grad():  # silence is what the first number of a feature says
        net.phones.weight.zero_()
        net.phones.bias.zero_()
        net.phones.weight[PHONE_INDEX["sil"], 0] = 10.0
        net.predict.bias[INDEX["jawOpen"]] = 0.5
    sound = features(40) * np.float32(0.1)
    sound[:, 0] = np.where(np.arange(40) < 20, 2.0, -2.0)  # silent, and then not

    free = FaceFormerGenerator(net)(sound).expression
    net.config = replace(net.config, rest=(0.8, 0.95))
    resting = FaceFormerGenerator(net)(sound).expression

    assert lip_gap(free[:10]).min() > 0.1  # cm
    assert np.abs(lip_gap(resting[:10])).max() < 1e-5
    assert np.array_equal(resting[:, INDEX["jawOpen"]], free[:, INDEX["jawOpen"]])
    assert np.array_equal(resting[10:], free[10:])


def test_phones_that_are_heard_round_the_lips_as_strongly_as_was_asked_for() -> None:
    net = network(replace(TINY, phones=len(PHONES), styles=2))
    assert net.phones is not None
    with torch.no_grad():  # the first number of a feature says whether it is s or uw
        net.phones.weight.zero_()
        net.phones.bias.zero_()
        net.phones.weight[PHONE_INDEX["uw"], 0], net.phones.weight[PHONE_INDEX["s"], 0] = 20.0, -20.0
    sound = features(41) * np.float32(0.1)
    sound[:, 0] = np.where(np.arange(41) < 20, -2.0, 2.0)
    style = np.tile(np.array([1.0, 0.5], np.float32), (21, 1))
    pucker = INDEX["mouthPucker"]

    free = FaceFormerGenerator(net)(sound, style=style).expression
    net.config = replace(net.config, rounding=0.5)
    rounded = FaceFormerGenerator(net)(sound, style=style).expression

    wanted = 0.5 * np.repeat([0, VISEMES["uw"].pucker], (10, 11))  # of a uw at half the strength
    assert rounded[:, pucker] == pytest.approx((free[:, pucker] + wanted) / 2, abs=0.02)
    others = np.delete(np.arange(52), [pucker, INDEX["mouthFunnel"], INDEX["mouthClose"]])
    assert np.array_equal(rounded[:, others], free[:, others])


def test_rounding_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"rounding must be 0 to 1, not 1\.5"):
        replace(TINY, rounding=1.5)


def test_rest_needs_phones() -> None:
    with pytest.raises(ValueError, match="needs phones"):
        replace(TINY, rest=(0.8, 0.9))
