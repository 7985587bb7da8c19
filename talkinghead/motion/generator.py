"""From audio features to motion, in pieces of any length."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

from ..blendshapes import INDEX
from ..errors import NumericalError
from ..types import EXPRESSIONS, Array, Motion, check_array
from ..weights import CONFIG_FILE, load_weights, part, read_config, read_folder, resolve
from .articulation import close_lips, rounding
from .faceformer import CHANNELS, FEATURES_PER_FRAME, STYLES, FaceFormer, FaceFormerConfig, Past
from .phones import BILABIALS, LABIODENTALS, PHONE_INDEX, PHONES

if TYPE_CHECKING:
    from .steps import Stepper

SPOKEN = frozenset(PHONES) - {"sil"}
ROUNDING = [INDEX["mouthFunnel"], INDEX["mouthPucker"]]

SECTION = "faceformer"  # of config.json, and the prefix of its weights
FPS = 25.0
BLOCK = 250  # frames whose sound is prepared at once; bounds memory
WORTH_COMPILING = 500  # frames at once from which compiled steps pay for being compiled
STRONGEST = 2.0  # style that a network is asked for at most: beyond what it saw in training


class GeneratorState(NamedTuple):
    """What FaceFormerGenerator needs to go on after a motion: kept in `Motion.state`.

    past:     what the network remembers
    previous: [1, 1, 58] the last frame
    features: [1, behind, D] the last features heard; None before the first
    whole:    whether the last frame heard both of its features
    """

    past: Past
    previous: Tensor
    features: Tensor | None
    whole: bool


class FaceFormerGenerator:
    """Audio features to motion at 25 frames a second, by a FaceFormer."""

    fps = FPS

    def __init__(self, network: FaceFormer, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self._stepper: Stepper | None = None

    @classmethod
    def open(cls, name: str | os.PathLike[str] = "micro", *, device: str | torch.device = "cpu") -> FaceFormerGenerator:
        """A generator from a checkpoint: "micro", which comes with the package, a folder, or a hub id.

        Raises WeightsMissing, CheckpointMismatch, CheckpointCorrupt, UnsafeCheckpoint, NonFiniteWeights.
        """
        folder = resolve(name)
        network = FaceFormer(read_config(folder / CONFIG_FILE, FaceFormerConfig, SECTION))
        load_weights(network, part(read_folder(folder), f"{SECTION}."), f"{folder.name}: {SECTION}")
        return cls(network, device=device)

    @property
    def look_ahead(self) -> int:
        """How many features beyond its own two a frame hears."""
        return self.network.config.ahead - 1

    def __call__(
        self,
        features: Array,
        *,
        style: Array | None = None,
        after: Motion | None = None,
        ahead: Array | None = None,
    ) -> Motion:
        """Motion of ceil(A / 2) frames for features [A, D].

        style: [T, 2] strength of jaw and lips in each frame, about 0.4 to 1.6; None is neutral, as all ones are
        after: the motion made last, to go on from; its features must have been even in number
        ahead: [n, D] the features that follow these. A frame hears `look_ahead` features beyond its own, so pieces
            made with what follows them join to exactly the motion of the whole. Without it, and at the end of a
            speech, the last feature is held.

        Raises ValueError for features of another width, or a style that this network was not trained with;
        NumericalError if a model gives no finite numbers.
        """
        config = self.network.config
        _check_features("features", features, config.features)
        if ahead is not None:
            _check_features("ahead", ahead, config.features)
        frames = -(-len(features) // FEATURES_PER_FRAME)
        if style is not None:
            check_array("style", style, np.float32, frames, STYLES)
            if not config.styles:
                raise ValueError("this motion generator was trained without styles; leave style out")
        if config.styles:
            neutral = np.ones((frames, STYLES), np.float32) if style is None else style
            style = np.minimum(neutral * np.float32(config.strength), np.float32(STRONGEST))
        state = self._begin() if after is None else _state_of(after)
        if not frames:
            return _as_motion(np.zeros((0, CHANNELS), np.float32), state)
        heard, kept = self._surround(features, state.features, ahead, frames)
        motion, past, previous = self._generate(heard, frames, state, style)
        if config.phones:
            motion[:, :EXPRESSIONS] = self._with_lips(motion[:, :EXPRESSIONS], self.phones(features), style)
        whole = len(features) % FEATURES_PER_FRAME == 0
        return _as_motion(motion, GeneratorState(past, previous, kept, whole))

    def _begin(self) -> GeneratorState:
        """The state before the first frame: a face at rest, and nothing heard."""
        return GeneratorState(self.network.start(), torch.zeros(1, 1, CHANNELS, device=self.device), None, True)

    def _surround(
        self, features: Array, before: Tensor | None, ahead: Array | None, frames: int
    ) -> tuple[Tensor, Tensor]:
        """The features that `frames` frames hear [1, behind + 2 T + ahead - 1, D], and those to keep for the next.

        The first feature of all is held into the past, as the last one is into the future.
        """
        config = self.network.config
        following = features[:0] if ahead is None else ahead[: self.look_ahead]
        past = np.repeat(features[:1], config.behind, axis=0) if before is None else before[0].cpu().numpy()
        last = following[-1:] if len(following) else features[-1:]
        missing = FEATURES_PER_FRAME * frames + self.look_ahead - len(features) - len(following)
        around = np.concatenate([past, features, following, np.repeat(last, max(0, missing), axis=0)])
        heard = torch.from_numpy(around).to(self.device)[None]
        kept = heard[:, len(features) : len(features) + config.behind].clone()  # a view would keep all of them
        return heard, kept

    def phones(self, features: Array) -> Array:
        """Probability of each phone of motion.phones.PHONES in each of the features [A, D]: [A, phones].

        Raises ValueError if the network was trained without phones.
        """
        if self.network.phones is None:
            raise ValueError("this motion generator was trained without phones")
        with torch.inference_mode():
            logits = self.network.phones(torch.from_numpy(features).to(self.device))
            return np.asarray(torch.softmax(logits, dim=-1).cpu().numpy())

    def _with_lips(self, expression: Array, heard: Array, style: Array | None) -> Array:
        """`expression` [T, 52] with lips as phones want them: round, shut at p, b, m and in silence, on teeth at f, v.

        heard: [A, phones] probability of each phone
        style: [T, 2] strength of jaw and lips
        """
        config = self.network.config
        lips = np.clip(expression, 0, 1)
        if config.rounding:
            heard_round = _in_frames(rounding(heard)).mean(axis=1)
            heard_round *= 1 if style is None else style[:, 1:]
            lips[:, ROUNDING] += config.rounding * (heard_round - lips[:, ROUNDING])
        shut = _between(config.seal, _chance(heard, BILABIALS))
        if config.rest is not None:  # a frame is silent if both of its features are
            shut = np.maximum(shut, _between(config.rest, 1 - _chance(heard, SPOKEN)))
        lips = close_lips(lips, shut)
        lips[:, INDEX["mouthRollLower"]] += config.bite * _chance(heard, LABIODENTALS)
        return lips

    def _compiled(self) -> Stepper:
        """The network's steps, compiled; the first time on a machine this takes some seconds."""
        from .steps import Stepper

        self._stepper = self._stepper or Stepper(self.network)
        return self._stepper

    @torch.inference_mode()
    def _generate(
        self, features: Tensor, frames: int, state: GeneratorState, style: Array | None
    ) -> tuple[Array, Past, Tensor]:
        """Motion [T, 58] one frame after another, the past after it, and its last frame."""
        config, past, previous = self.network.config, state.past, state.previous
        stepper = self._compiled() if frames >= WORTH_COMPILING and self.device.type == "cpu" else None
        blocks = []
        for first in range(0, frames, BLOCK):
            last = min(first + BLOCK, frames)
            around = features[:, FEATURES_PER_FRAME * first : FEATURES_PER_FRAME * (last - 1) + config.band]
            heard = self.network.listen(around)
            said = None if style is None else style[first:last]
            if stepper is not None:
                made, past = stepper.generate(heard, previous[0, 0].numpy(), past, said)
                previous = torch.from_numpy(made[-1:])[None]
            else:
                now = None if said is None else torch.from_numpy(said).to(self.device)[None]
                with _threads().limit(limits=1, user_api="openmp"):
                    block, past = self.network.generate(heard, previous, past, now)
                previous, made = block[:, -1:], block[0].cpu().numpy()
            blocks.append(made)
        motion = np.concatenate(blocks)
        if not np.isfinite(motion).all():
            frame = past.frame - frames + int(np.flatnonzero(~np.isfinite(motion).all(axis=1))[0])
            raise NumericalError(f"motion generator: frame {frame} is not finite", "use other weights")
        return motion, past, previous


def _between(limits: tuple[float, float], chance: Array) -> Array:
    """0 up to the first of `limits`, 1 from the second on, and straight between."""
    low, high = limits
    return np.clip((chance - low) / (high - low), 0, 1)


def _chance(heard: Array, phones: frozenset[str]) -> Array:
    """The highest probability of one of `phones` in each frame [T], of those of all phones [A, phones]."""
    any_of = heard[:, [PHONE_INDEX[phone] for phone in sorted(phones)]].sum(axis=1, keepdims=True)
    return np.asarray(_in_frames(any_of)[..., 0].max(axis=1))


def _in_frames(values: Array) -> Array:
    """What is known of each feature [A, n] by frames, [T, 2, n]; a last feature without its pair counts twice."""
    padded = np.pad(values, ((0, len(values) % FEATURES_PER_FRAME), (0, 0)), mode="edge")
    return padded.reshape(-1, FEATURES_PER_FRAME, values.shape[1])


def _check_features(name: str, features: Array, size: int) -> None:
    """Raise ValueError or TypeError unless `features` are [A, size], NumericalError unless finite."""
    if isinstance(features, np.ndarray) and features.dtype == np.float32 and not np.isfinite(features).all():
        raise NumericalError(f"{name}: audio features hold NaN or infinity")
    check_array(name, features, np.float32, None, size)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    """Limits how many threads torch uses in the calling thread alone.

    A single frame is too little work to share: waking threads costs more than they save, and on a busy machine a
    hundred times more.
    """
    return ThreadpoolController()


def _state_of(after: Motion) -> GeneratorState:
    state = after.state
    if not isinstance(state, GeneratorState):
        raise ValueError("after must be a motion that this generator made, not a loaded or changed one")
    if not state.whole:
        raise ValueError("after must have been made from an even number of features: its last frame heard only one")
    return state


def _as_motion(motion: Array, state: GeneratorState) -> Motion:
    """Motion from channels [T, 58], the expression brought into its range."""
    return Motion(
        np.clip(motion[:, :EXPRESSIONS], 0, 1),
        motion[:, EXPRESSIONS : EXPRESSIONS + 3].copy(),
        motion[:, EXPRESSIONS + 3 :].copy(),
        FPS,
        state,
    )
