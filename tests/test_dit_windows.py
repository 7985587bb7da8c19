"""Clips of any length by the video transformer, from a tiny random checkpoint."""

from typing import Any

import numpy as np
import pytest
import torch

from talkinghead.animators.dit.conditioning import Reference, encode_reference
from talkinghead.animators.dit.loading import open_networks
from talkinghead.animators.dit.networks import Networks
from talkinghead.animators.dit.sampling import Sampling, decode
from talkinghead.animators.dit.windows import Driving, Join, Overlap, joined, stream_pictures, window_starts
from talkinghead.types import Frame

from .dit_tiny import HEIGHT, WIDTH, write_checkpoint

QUICK = Sampling(steps=4)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return open_networks(write_checkpoint(tmp_path_factory.mktemp("tiny")))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 255, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def reference(networks: Networks) -> Reference:
    return encode_reference(networks, picture(0), picture(1, 512, 512), picture(2))


def driving(count: int) -> list[Driving]:
    return [Driving(picture(10 + index)) for index in range(count)]


def pictures(networks: Networks, reference: Reference, count: int, **options: Any) -> Any:
    return np.stack(list(stream_pictures(networks, reference, driving(count), count, QUICK, **options)))


def test_windows_cover_every_frame_once_and_no_window_is_empty() -> None:
    for count in range(1, 500):
        starts = window_starts(count, 48)

        assert starts == list(range(0, 40 * len(starts), 40))
        assert starts[-1] + 48 >= count
        assert len(starts) == 1 or starts[-1] + 8 < count


@pytest.mark.parametrize("count", [1, 16, 17, 29])
def test_there_is_one_picture_for_every_driving_frame(networks: Networks, reference: Reference, count: int) -> None:
    made = pictures(networks, reference, count)

    assert made.shape == (count, HEIGHT, WIDTH, 3)
    assert made.dtype == np.float32
    assert 0 <= made.min() < made.max() <= 1


def test_the_first_window_does_not_know_what_follows(networks: Networks, reference: Reference) -> None:
    alone, more = pictures(networks, reference, 16), pictures(networks, reference, 24)

    np.testing.assert_array_equal(alone[:8], more[:8])


def test_pictures_come_a_window_at_a_time(networks: Networks, reference: Reference) -> None:
    drawn = 0

    def counted() -> Any:
        nonlocal drawn
        for item in driving(40):
            drawn += 1
            yield item

    made = stream_pictures(networks, reference, counted(), 40, QUICK)
    next(made)

    assert drawn == 16


def test_the_seed_alone_decides(networks: Networks, reference: Reference) -> None:
    once, again, other = (pictures(networks, reference, 4, seed=seed) for seed in (5, 5, 6))

    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0.01


def test_too_few_driving_frames_are_refused(networks: Networks, reference: Reference) -> None:
    with pytest.raises(ValueError, match="30 driving frames, not 20"):
        list(stream_pictures(networks, reference, driving(20), 30, QUICK))


def test_an_overlap_starts_from_the_same_noise_and_keeps_its_level() -> None:
    first = Overlap(2, 10, Join.EQUAL)
    states = [torch.full((1, 5, 1, 1, 1), float(step)) for step in range(11)]
    for step, state in enumerate(states):
        first.enter(step, state)
    second = Overlap(2, 10, Join.EQUAL, first)

    entered = [second.enter(step, state - 100).flatten()[:4].tolist() for step, state in enumerate(states)]

    assert entered[0] == [-100, 0, 0, -100]  # the noise itself, unmixed
    assert entered[5] == [-95, 5, -45, -95]  # step 5 of both
    assert entered[9] == [-91, -91, -91, -91]  # the last steps are the window's own


def test_the_published_overlap_is_one_noise_level_off() -> None:
    first, states = Overlap(2, 10, Join.PARITY), [torch.full((1, 5, 1, 1, 1), float(step)) for step in range(11)]
    for step, state in enumerate(states):
        first.enter(step, state)
    second = Overlap(2, 10, Join.PARITY, first)

    entered = [second.enter(step, state - 100).flatten()[:4].tolist() for step, state in enumerate(states)]

    assert entered[3] == [-97, -97, -97, -97]
    assert entered[4] == [-96, 5, -45.5, -96]
    assert entered[8] == [-92, -92, -92, -92]


def test_equal_noise_levels_join_windows_better_than_the_published_way(
    networks: Networks, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents: list[torch.Tensor] = []

    def keep(vae: Any, clean: torch.Tensor) -> Any:
        latents.append(clean)
        return decode(vae, clean)

    monkeypatch.setattr("talkinghead.animators.dit.windows.decode", keep)
    for join in Join:
        list(stream_pictures(networks, reference, driving(24), 24, Sampling(), join=join))

    equal, parity = (float((latents[i][:, -2:] - latents[i + 1][:, 1:3]).abs().mean()) for i in (0, 2))
    assert equal < 0.9 * parity


def test_pictures_of_an_overlap_fade() -> None:
    before, after = np.zeros((8, 1, 1, 3), np.float32), np.ones((8, 1, 1, 3), np.float32)

    np.testing.assert_allclose(joined(before, after, Join.EQUAL)[:, 0, 0, 0], np.arange(1, 9) / 9, rtol=1e-5)
    np.testing.assert_array_equal(joined(before, after, Join.PARITY), before)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be"),
        ({"guidance": 0.5}, "guidance must be"),
        ({"guided": 2}, "guided must be"),
        ({"batching": "both"}, "batching must be"),
        ({"scheduler": "euler"}, "scheduler must be"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)
