"""Hearing: openai-whisper's audio encoder at any size, run over speech of any length."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, mel_filters
from whisper.model import AudioEncoder, ModelDimensions, MultiHeadAttention

from .errors import CheckpointMismatch, NumericalError, WeightsMissing
from .settings import dataclass_from
from .types import Array, Speech, check_array
from .weights import (
    CONFIG_FILE,
    load_weights,
    offline,
    part,
    read_config,
    read_folder,
    read_section,
    read_tensors,
    read_torch,
    resolve,
    shipped,
)

SECTION = "audio_encoder"  # of config.json, and the prefix of its weights
MELS_PER_TOKEN = 2
SAMPLES_PER_TOKEN = HOP_LENGTH * MELS_PER_TOKEN  # 320: 20 ms
TOKENS_PER_SECOND = SAMPLE_RATE / SAMPLES_PER_TOKEN  # 50
# A mel frame sees half an FFT on each side. A window brings this much of its surroundings with it, so that its mels
# are those of the whole sound, and not of a sound that begins and ends with the window.
MARGIN = math.ceil(N_FFT / 2 / HOP_LENGTH) * HOP_LENGTH
# A token is made of five mels, which see this many samples after its own 320.
BEYOND = N_FFT // 2
BATCH = 8  # windows encoded at once; bounds memory


@dataclass(frozen=True)
class WhisperConfig:
    """Dimensions of a Whisper audio encoder.

    n_mels:  mel bands: 80, or 128 from large-v3 on
    n_ctx:   tokens in a window; 50 are a second
    n_state: width of a token
    n_head, n_layer: attention heads and blocks
    floor:   lowest log-mel value heard, in Whisper's units (log10 of power is 4 * value - 4); None hears all
    overlap: tokens that neighbouring windows share and blend
    ahead:   tokens that a token hears of what follows it, in each block; None hears its whole window, as the public
             models do, and cannot be streamed
    behind:  tokens that it then hears of what came before it, in each block; it knows how far each token is from it,
             and not where in the window it is. Means nothing without `ahead`
    adapt:   how much the usual spectrum counts beside that of the window so far when they are taken off: as that many
             mels (10 ms) of 40 dB above the floor; needs a floor. None takes nothing off, as the public models do
    """

    n_mels: int = 80
    n_ctx: int = 250
    n_state: int = 128
    n_head: int = 4
    n_layer: int = 3
    floor: float | None = -0.5
    overlap: int = 50
    ahead: int | None = None
    behind: int = 50
    adapt: float | None = None

    def __post_init__(self) -> None:
        limits = {"n_ctx": 3000, "n_state": 4096, "n_head": 64, "n_layer": 64}
        for name, most in limits.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {getattr(self, name)}")
        if self.n_mels not in (80, 128):
            raise ValueError(f"n_mels must be 80 or 128, not {self.n_mels}")
        if self.n_state % self.n_head or self.n_state % 2:
            raise ValueError(f"n_state must be even and divisible by n_head, not {self.n_state} by {self.n_head}")
        if not 0 <= self.overlap <= self.n_ctx // 2 or self.overlap % 2:
            raise ValueError(f"overlap must be even and at most half of n_ctx, not {self.overlap}")
        if self.ahead is not None and not 0 <= self.ahead < self.n_ctx:
            raise ValueError(f"ahead must be 0 to n_ctx - 1, or none, not {self.ahead}")
        if self.ahead is not None and not 0 <= self.behind < self.n_ctx:
            raise ValueError(f"behind must be 0 to n_ctx - 1, not {self.behind}")
        if self.adapt is not None and not 0 < self.adapt <= 1e4:
            raise ValueError(f"adapt must be above 0 and at most 10000, or none, not {self.adapt}")
        if self.adapt is not None and self.floor is None:
            raise ValueError("adapt needs a floor, above which loudness counts: give floor, or leave adapt out")

    @property
    def look_ahead(self) -> int:
        """Tokens after its own that the features of a token depend on."""
        return self.n_ctx if self.ahead is None else self.ahead * self.n_layer

    def build(self) -> AudioEncoder:
        """A network of these dimensions with random weights, ready for training."""
        dimensions = (self.n_mels, self.n_ctx, self.n_state, self.n_head, self.n_layer)
        if self.adapt is None or self.floor is None:
            network = AudioEncoder(*dimensions)
        else:
            network = AdaptiveEncoder(*dimensions, adapt=self.adapt, floor=self.floor)
        if self.ahead is not None:
            network.positional_embedding.zero_()
            for block in network.blocks:
                block.attn = NearAttention(self.n_state, self.n_head, self.n_ctx, self.behind, self.ahead)
        return network


class AdaptiveEncoder(AudioEncoder):  # type: ignore[misc]
    """openai-whisper's encoder, used to the microphone, room and voice by what it heard of them so far.

    The mean spectrum of speech is taken off, which leaves what changes (cepstral mean normalisation: Atal, J. Acoust.
    Soc. Am. 55, 1974), so that it hears people as well as the synthesisers it was trained on. The mean is that of the
    window up to each moment, louder moments counting more, and at first that of a usual voice, which is learned.
    """

    def __init__(
        self, n_mels: int, n_ctx: int, n_state: int, n_head: int, n_layer: int, *, adapt: float, floor: float
    ) -> None:
        super().__init__(n_mels, n_ctx, n_state, n_head, n_layer)
        self.adapt, self.floor = adapt, floor
        self.usual = torch.nn.Parameter(torch.zeros(n_mels, 1))

    def forward(self, mel: Tensor) -> Tensor:
        """Features [B, A, D] of log-mels [B, n_mels, 2 A]."""
        height = (mel.mean(dim=1, keepdim=True) - self.floor).clamp_min(0)  # [B, 1, 2 A]
        heard = torch.cumsum(height * mel, dim=2) + self.adapt * self.usual
        features: Tensor = super().forward(mel - heard / (torch.cumsum(height, dim=2) + self.adapt))
        return features


class NearAttention(MultiHeadAttention):  # type: ignore[misc]
    """openai-whisper's attention, from `behind` tokens before the one that looks to `ahead` tokens after it.

    Each head weighs tokens by how far they are as well, which is learned (Raffel et al., JMLR 21, 2020) from a start
    that favours near ones, each head half as much as the one before (Press et al., ICLR 2022). Sound means the same
    anywhere in a window, so this hears unknown voices better than sinusoids that tell the place in it.
    """

    def __init__(self, n_state: int, n_head: int, n_ctx: int, behind: int, ahead: int) -> None:
        super().__init__(n_state, n_head)
        distance = torch.arange(-behind, ahead + 1)
        slope = 0.5 ** torch.arange(1, n_head + 1)
        self.nearness = torch.nn.Parameter(-slope[:, None] * distance.abs())  # [H, behind + 1 + ahead]
        self.unseen = n_ctx - 1 - behind, n_ctx - 1 - ahead  # distances in a window, farther behind and ahead

    def qkv_attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        """What each token [B, A, D] sees, by its query, of keys and values [B, A, D]; `mask` is not used."""
        batch, tokens, _ = q.shape
        q, k, v = (each.view(batch, tokens, self.n_head, -1).transpose(1, 2) for each in (q, k, v))  # [B, H, A, D / H]
        nearness = torch.nn.functional.pad(self.nearness, self.unseen, value=-torch.inf)
        nearness = nearness.unfold(1, tokens, 1).flip(1)  # [H, A, A] by the token that looks and the one looked at
        seen = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=nearness)
        return seen.transpose(1, 2).flatten(start_dim=2), None


class Hearing(NamedTuple):
    """What WhisperEncoder needs to go on hearing a sound that comes in pieces; its size is bounded by two windows.

    samples: [n] the end of what was heard
    first:   number of the first of them, in samples since the beginning
    done:    how many features were given
    """

    samples: Array
    first: int
    done: int

    @property
    def heard(self) -> int:
        """How many samples were heard."""
        return self.first + len(self.samples)


SILENCE = Hearing(np.zeros(0, np.float32), 0, 0)  # before a sound begins


class WhisperEncoder:
    """Speech to features, 50 a second.

    The sound is cut into windows on a grid that starts at its first sample. Neighbours overlap and are blended
    smoothly, so any length can be heard with the memory of a few windows.

    A piece of a longer sound gives the features of the whole, to rounding, if it begins a multiple of `hop` tokens
    (micro: 4 s) after its start, from the second window on. If it begins elsewhere, the features of "micro" differ by
    0.11 to 0.19 of their standard deviation from a second after its start on (root mean square), and the lip opening
    made from them by 0.05 to 0.28 of its own (correlation 0.96 to 1.00).

    config:  dimensions of `network`
    network: openai-whisper's AudioEncoder
    device:  where it runs
    """

    rate = TOKENS_PER_SECOND

    def __init__(self, config: WhisperConfig, network: AudioEncoder, *, device: str | torch.device = "cpu") -> None:
        self.config = config
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.size = config.n_state
        self.hop = config.n_ctx - config.overlap
        # Weight of the later one of two windows across their overlap: half a cosine, so that features bend nowhere.
        steps = (torch.arange(config.overlap, device=self.device) + 0.5) / max(1, config.overlap)
        self._rise = (0.5 - 0.5 * torch.cos(torch.pi * steps))[:, None]

    @classmethod
    def open(cls, name: str | os.PathLike[str] = "micro", *, device: str | torch.device = "cpu") -> WhisperEncoder:
        """An encoder by name or path.

        name: "micro" (comes with the package); a public Whisper model, "tiny" to "large-v3", loaded by
            openai-whisper, which downloads and checks it once; a checkpoint folder of this package, or a hub id of
            one; or a Whisper checkpoint file (.pt as OpenAI gives it). A path object is always a folder or file

        Raises WeightsMissing, CheckpointMismatch, CheckpointCorrupt, UnsafeCheckpoint, NonFiniteWeights.
        """
        if isinstance(name, str) and name in whisper.available_models():
            return cls(*_public(name), device=device)
        if shipped(name) is None and Path(name).is_file():
            return cls(*_from_file(Path(name)), device=device)
        folder = resolve(name)
        public = read_section(folder / CONFIG_FILE, SECTION)
        if isinstance(public, str):  # a decoder trained on a public encoder names it instead of copying it
            if public not in whisper.available_models():
                raise CheckpointMismatch(f"{CONFIG_FILE}: {SECTION}: no public Whisper model is called {public!r:.60}")
            return cls.open(public, device=device)
        config = read_config(folder / CONFIG_FILE, WhisperConfig, SECTION)
        network = config.build()
        load_weights(network, part(read_folder(folder), f"{SECTION}."), f"{folder.name}: {SECTION}")
        return cls(config, network, device=device)

    def __call__(self, speech: Speech) -> Array:
        """Features [ceil(duration * 50), size] of `speech`. Raises NumericalError if they are not finite."""
        features = np.empty((math.ceil(speech.seconds * round(self.rate)), self.size), np.float32)
        done = 0
        for block in self.blocks(speech):
            features[done : done + len(block)] = block
            done += len(block)
        return features

    def blocks(self, speech: Speech) -> Iterator[Array]:
        """The features of `speech` in consecutive blocks [n, size]; n is even except in the last one.

        Needs the memory of a few windows, however long the speech is.
        """
        count = math.ceil(speech.seconds * round(self.rate))
        overlap, hop = self.config.overlap, self.hop
        windows = math.ceil((count + overlap) / hop)
        tail = torch.zeros(overlap, self.size, device=self.device)  # end of the window before
        for first in range(0, windows, BATCH):
            pieces = []
            for window in self._encode(speech.samples, range(first, min(first + BATCH, windows))):
                pieces += [torch.lerp(tail, window[:overlap], self._rise), window[overlap:hop]]
                tail = window[hop:]
            start = first * hop - overlap  # the first window begins in the silence before the sound
            block = torch.cat(pieces)[max(0, -start) : count - start].cpu().numpy()
            if not np.isfinite(block).all():
                raise NumericalError(f"audio encoder: features are not finite near {max(0, start) / self.rate:g} s")
            yield block

    @property
    def look_ahead(self) -> float:
        """Seconds of sound after its own that a feature needs, when sound comes in pieces."""
        return float((self.config.look_ahead * SAMPLES_PER_TOKEN + BEYOND) / SAMPLE_RATE)

    def hear(self, samples: Array, after: Hearing = SILENCE, *, last: bool = False) -> tuple[Array, Hearing]:
        """The features [n, size] that are certain now that `samples` [N] at 16 kHz follow, and what to go on from.

        They are the features of the whole sound, to rounding, given when `look_ahead` seconds after them are known;
        with the `last` piece, all that are left.

        Raises ValueError for an encoder that hears whole windows at once (the public ones), or for samples that are
        not float32; NumericalError if features are not finite.
        """
        if self.config.ahead is None:
            raise ValueError("this audio encoder hears whole windows and cannot hear a sound in pieces")
        check_array("samples", samples, np.float32, None)
        known = np.concatenate([after.samples, samples])
        heard = after.first + len(known)
        certain = (heard - BEYOND) // SAMPLES_PER_TOKEN - self.config.look_ahead
        done = max(math.ceil(heard / SAMPLES_PER_TOKEN) if last else certain, after.done)
        features = self._between(known, after.first, after.done, done)
        if not np.isfinite(features).all():
            raise NumericalError(f"audio encoder: features are not finite near {after.done / self.rate:g} s")
        oldest = max(0, ((done + self.config.overlap) // self.hop - 1) * self.hop - self.config.overlap)
        first = max(after.first, oldest * SAMPLES_PER_TOKEN - MARGIN)
        return features, Hearing(known[first - after.first :].copy(), first, done)

    def _between(self, samples: Array, offset: int, first: int, last: int) -> Array:
        """Features `first` to `last` [n, size] of a sound whose samples are known from number `offset` on."""
        if last <= first:
            return np.zeros((0, self.size), np.float32)
        overlap, hop = self.config.overlap, self.hop
        tokens = np.arange(first, last)
        later = (tokens + overlap) // hop  # the later one of the windows that a token is in
        place = tokens + overlap - later * hop
        windows = range(max(0, int(later[0]) - 1), int(later[-1]) + 1)
        encoded = self._encode(samples, windows, offset)
        number = torch.from_numpy(later - windows.start).to(self.device)
        at = torch.from_numpy(place).to(self.device)
        features = encoded[number, at]
        shared = at < overlap
        before = encoded[(number[shared] - 1).clamp_min(0), at[shared] + hop]
        features[shared] = torch.lerp(before, features[shared], self._rise[at[shared]])
        return np.asarray(features.cpu().numpy())

    @torch.inference_mode()
    def _encode(self, samples: Array, windows: range, offset: int = 0) -> Tensor:
        """Tokens [windows, n_ctx, size] of the windows with these numbers.

        offset: number of the first of `samples` in the sound
        """
        starts = [number * self.hop - self.config.overlap for number in windows]
        mels = torch.stack([self._mel(samples, start, offset) for start in starts])  # [windows, n_mels, 2 * n_ctx]
        tokens: Tensor = self.network(mels.to(self.device))
        return tokens.float()

    def _mel(self, samples: Array, start: int, offset: int = 0) -> Tensor:
        """Log-mel spectrogram [n_mels, 2 * n_ctx] of the window that starts at token `start`; silence outside."""
        first = start * SAMPLES_PER_TOKEN - MARGIN - offset
        last = first + self.config.n_ctx * SAMPLES_PER_TOKEN + 2 * MARGIN
        heard = samples[max(0, first) : max(0, last)]
        before = max(0, -first)
        padded = np.pad(heard, (before, last - first - before - len(heard)))
        mel = log_mel(padded, self.config.n_mels, self.config.floor)
        return mel[:, MARGIN // HOP_LENGTH :][:, : MELS_PER_TOKEN * self.config.n_ctx]


def log_mel(samples: Array, n_mels: int, floor: float | None) -> Tensor:
    """Log-mel spectrogram [n_mels, N // 160] of `samples` [N], nothing below `floor`.

    Whisper raises all values to at least the loudest one minus 2 (80 dB), which makes the features of a quiet moment
    depend on the loudest moment of its window, later ones too. With a fixed floor, which hides recording noise as
    well, they are whisper.log_mel_spectrogram's without that.
    """
    if floor is None:
        theirs: Tensor = whisper.log_mel_spectrogram(samples, n_mels=n_mels)
        return theirs
    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(torch.from_numpy(samples), N_FFT, HOP_LENGTH, window=window, return_complex=True)
    power: Tensor = mel_filters("cpu", n_mels) @ spectrum[:, :-1].abs().square()
    return ((power.clamp_min(1e-10).log10() + 4) / 4).clamp_min(floor)


def _public(name: str) -> tuple[WhisperConfig, AudioEncoder]:
    """A public Whisper encoder, downloaded and checked by openai-whisper unless it is there already."""
    if offline():
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper"
        file = cache / f"{ {'large': 'large-v3', 'turbo': 'large-v3-turbo'}.get(name, name) }.pt"
        if not file.is_file():
            raise WeightsMissing(
                f"Whisper {name}: not on this machine, and downloads are switched off",
                f"download it elsewhere and put it at {file}",
            )
        return _from_file(file)
    try:
        model = whisper.load_model(name, device="cpu")
    except (OSError, RuntimeError) as error:
        raise WeightsMissing(
            f"Whisper {name}: could not be downloaded: {error}",
            "check the connection, or give the path of a Whisper checkpoint file",
        ) from error
    return _public_config(model.dims), model.encoder


def _public_config(dims: ModelDimensions) -> WhisperConfig:
    return WhisperConfig(
        n_mels=dims.n_mels,
        n_ctx=dims.n_audio_ctx,
        n_state=dims.n_audio_state,
        n_head=dims.n_audio_head,
        n_layer=dims.n_audio_layer,
        floor=None,
        overlap=min(100, dims.n_audio_ctx // 4 * 2),
    )


def _from_file(path: Path) -> tuple[WhisperConfig, AudioEncoder]:
    """The encoder inside a Whisper checkpoint as OpenAI gives it, or the same tensors as safetensors."""
    where = path.name
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)
        config = _config_of_shapes(tensors, where)
    else:
        content = read_torch(path)
        if not isinstance(content.get("dims"), dict) or not isinstance(content.get("model_state_dict"), dict):
            raise CheckpointMismatch(f"{where}: not a Whisper checkpoint: it has no dims and model_state_dict")
        tensors = content["model_state_dict"]
        try:
            config = _public_config(dataclass_from(ModelDimensions, content["dims"]))
        except (ValueError, TypeError) as error:
            raise CheckpointMismatch(f"{where}: dims: {error}") from error
    network = config.build()
    load_weights(network, part(tensors, "encoder."), where)
    return config, network


def _config_of_shapes(tensors: dict[str, Tensor], where: str) -> WhisperConfig:
    """The dimensions that the weights of a public Whisper model show; all of them have heads 64 wide."""
    try:
        n_state, n_mels, _ = tensors["encoder.conv1.weight"].shape
        n_ctx, _ = tensors["encoder.positional_embedding"].shape
        blocks = {name.split(".")[2] for name in tensors if name.startswith("encoder.blocks.")}
        dims = ModelDimensions(n_mels, n_ctx, n_state, n_state // 64, len(blocks), 0, 0, 0, 0, 0)
        return _public_config(dims)
    except (KeyError, ValueError) as error:
        raise CheckpointMismatch(f"{where}: not a Whisper checkpoint: {error}") from error
