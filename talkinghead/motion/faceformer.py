"""FaceFormer: an autoregressive transformer from speech features to facial motion.

After Fan et al., "FaceFormer: Speech-Driven 3D Facial Animation with Transformers", CVPR 2022: biased causal
self-attention with a periodic position encoding, and cross-attention aligned to the sound. Three changes make it run
for ever at the same cost per frame: keys and values of past frames are kept, only a window of them is looked at, and
each frame hears only the features around it.

    B batch   A audio features (50 a second)   T frames (25 a second)   H heads   D width
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import EXPRESSIONS
from .phones import PHONES
from .style import Style

POSE = 6  # pitch, yaw, roll in radians; x, y, z in face heights
CHANNELS = EXPRESSIONS + POSE
FEATURES_PER_FRAME = 2  # 50 audio features and 25 frames a second
STYLES = len(Style._fields)
STYLE_SCALE = 0.3  # about the standard deviation of styles in training


@dataclass(frozen=True)
class FaceFormerConfig:
    """Dimensions of a FaceFormer.

    features: width of an audio feature
    width, heads, layers: of the transformer
    period:   frames after which the position encoding repeats, and in which the attention bias is constant
    window:   frames of the past that a frame looks at
    behind, ahead: features heard before the frame's own two, and after the first of them
    styles:   numbers that say how to speak (see motion.style); 0 for none
    phones:   phones that are told from the features (see motion.phones); 0 for none
    strength: style that is neutral: where sound is ambiguous a network moves by the mean of what it might be, which
              is less than people move, so that it must be asked for more
    seal:     probabilities of p, b or m from which lips begin to shut, and at which they are shut
    rounding: share of the lips' rounding that comes of the phones heard in a frame, which are crisper than the frames:
              those are early and blurred where the next sound is not sure
    bite:     by how much a certain f or v rolls the lower lip in, besides what the frames say
    rest:     probabilities of silence from which lips begin to shut, and at which they are shut; jaw and rounding go
              on, since they are early for the next sound; None leaves it to the frames
    """

    features: int = 128
    width: int = 128
    heads: int = 4
    layers: int = 2
    period: int = 25
    window: int = 100
    behind: int = 4
    ahead: int = 4
    styles: int = 0
    phones: int = 0
    strength: float = 1.0
    seal: tuple[float, float] = (0.2, 0.55)
    rounding: float = 0.0
    bite: float = 0.0
    rest: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        limits = {"features": 4096, "width": 2048, "heads": 64, "layers": 64, "period": 1000}
        for name, most in limits.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be 1 to {most}, not {getattr(self, name)}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and divisible by heads, not {self.width} by {self.heads}")
        if not 2 <= self.window <= 10_000:
            raise ValueError(f"window must be 2 to 10000, not {self.window}")
        if not 0 <= self.behind <= 100 or not 1 <= self.ahead <= 100:
            raise ValueError(f"behind must be 0 to 100 and ahead 1 to 100, not {self.behind} and {self.ahead}")
        if self.styles not in (0, STYLES) or self.phones not in (0, len(PHONES)):
            raise ValueError(
                f"styles must be 0 or {STYLES} and phones 0 or {len(PHONES)}, not {self.styles} and {self.phones}"
            )
        self._check_lips()

    def _check_lips(self) -> None:
        """Raise ValueError unless what comes of the phones is possible."""
        for name in ("rounding", "bite"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {getattr(self, name)}")
        if self.rest is not None and not (self.phones and 0 <= self.rest[0] < self.rest[1] <= 1):
            raise ValueError(f"rest must rise within 0 to 1, and needs phones, not {self.rest}")
        if not 0.5 <= self.strength <= 2 or not 0 <= self.seal[0] < self.seal[1] <= 1:
            raise ValueError(f"strength must be 0.5 to 2 and seal rise within 0 to 1, not {self.strength}, {self.seal}")

    @property
    def band(self) -> int:
        """How many features a frame hears."""
        return self.behind + 1 + self.ahead


class Heard(NamedTuple):
    """What the frames hear, ready to be attended to.

    layers: for each, keys and values [2, B, T, H, band, D / H]
    """

    layers: tuple[Tensor, ...]

    def frames(self, first: int, last: int) -> Heard:
        """Only what the frames `first` to `last` hear."""
        return Heard(tuple(layer[:, :, first:last] for layer in self.layers))


class Past(NamedTuple):
    """What a FaceFormer remembers of the frames it has made; its size does not grow beyond the window.

    frame:  how many frames were made
    layers: for each, keys and values of the last frames [2, B, H, up to window - 1, D / H]
    """

    frame: int
    layers: tuple[Tensor, ...]


class FaceFormer(nn.Module):
    """Predicts each frame of motion from the frames before it and the sound around it.

    One `forward` serves training, with all previous frames known, and generation, one frame at a time.
    Motion is expression [52] and head pose [6], relative to the neutral face at rest.
    """

    scale: Tensor
    position: Tensor
    bias: Tensor

    def __init__(self, config: FaceFormerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.hear_features = nn.Linear(config.features, width)
        self.embed = nn.Linear(CHANNELS, width)
        self.layers = nn.ModuleList(DecoderLayer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, CHANNELS)
        self.style = nn.Linear(config.styles, width, bias=False) if config.styles else None
        self.phones = nn.Linear(config.features, config.phones) if config.phones else None
        nn.init.zeros_(self.predict.weight)  # the untrained face is at rest
        nn.init.zeros_(self.predict.bias)
        # How far each channel usually moves, from the training data: the network works in these units.
        self.register_buffer("scale", torch.ones(CHANNELS))
        self.register_buffer("position", _periodic_positions(config.period, width), persistent=False)
        self.register_buffer("bias", _distance_bias(config), persistent=False)

    def listen(self, features: Tensor) -> Heard:
        """What T frames hear in features [B, behind + 2 T + ahead - 1, features].

        The features must reach `behind` beyond the first frame's own two, and `ahead` - 1 beyond the last one's.
        """
        memory = self.hear_features(features)  # [B, A, D]
        layers = cast("list[DecoderLayer]", self.layers)
        return Heard(tuple(layer.hear(memory, self.config.band) for layer in layers))

    def start(self, batch: int = 1) -> Past:
        """The past before the first frame: nothing."""
        config = self.config
        empty = self.scale.new_zeros(2, batch, config.heads, 0, config.width // config.heads)
        return Past(0, (empty,) * config.layers)

    def forward(self, heard: Heard, previous: Tensor, past: Past, style: Tensor | None = None) -> tuple[Tensor, Past]:
        """Motion [B, T, 58] of T frames, each from its `previous` frame [B, T, 58], and the past after them.

        The frame before the first one is all zeros.

        style: [B, T, 2] strength of jaw and lips; None is neutral, as all ones are
        """
        frames = torch.arange(past.frame, past.frame + previous.shape[1], device=previous.device)
        x = self.embed(previous / self.scale) + self.position[frames % self.config.period]  # [B, T, D]
        if style is not None and self.style is not None:
            x = x + self.style((style - 1) / STYLE_SCALE)
        bias = self._bias_between(past.layers[0].shape[3], previous.shape[1])
        remembered = []
        for layer, layer_past, layer_heard in zip(self.layers, past.layers, heard.layers, strict=True):
            x, seen = layer(x, bias, layer_past, layer_heard)
            remembered.append(seen[:, :, :, 1 - self.config.window :])
        motion = self.predict(self.norm(x)) * self.scale
        return motion, Past(past.frame + previous.shape[1], tuple(remembered))

    def generate(self, heard: Heard, previous: Tensor, past: Past, style: Tensor | None = None) -> tuple[Tensor, Past]:
        """Motion [B, T, 58] of the T frames in `heard`, one after another, each from the frame made before it.

        previous: [B, 1, 58] the frame before the first
        style:    [B, T, 2] strength of jaw and lips; None is neutral
        """
        frames = []
        for frame in range(heard.layers[0].shape[2]):
            now = None if style is None else style[:, frame : frame + 1]
            previous, past = self(heard.frames(frame, frame + 1), previous, past, now)
            frames.append(previous)
        return torch.cat(frames, dim=1), past

    def _bias_between(self, remembered: int, new: int) -> Tensor:
        """Attention bias [1, H, new, remembered + new] of new frames to remembered and new ones; -inf where blind."""
        if new == 1:  # one frame after its past sees distances remembered ... 1, 0
            return self.bias[None, :, None, self.config.window - 1 - remembered :]
        queries = torch.arange(remembered, remembered + new, device=self.bias.device)[:, None]
        distance = queries - torch.arange(remembered + new, device=self.bias.device)
        visible = (distance >= 0) & (distance < self.config.window)
        bias = self.bias[:, (self.config.window - 1 - distance).clamp(0, self.config.window - 1)]
        return bias.masked_fill(~visible, -math.inf)[None]


class DecoderLayer(nn.Module):
    """Attention to past frames, attention to the sound around the frame, and a feed-forward network."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.past_norm = nn.LayerNorm(width)
        self.past_qkv = nn.Linear(width, 3 * width)
        self.past_out = nn.Linear(width, width)
        self.sound_norm = nn.LayerNorm(width)
        self.sound_query = nn.Linear(width, width)
        self.sound_kv = nn.Linear(width, 2 * width)
        self.sound_out = nn.Linear(width, width)
        self.forward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def hear(self, memory: Tensor, band: int) -> Tensor:
        """Keys and values [2, B, T, H, band, D / H] of the features around each frame, from memory [B, A, D]."""
        around: Tensor = self.sound_kv(memory).unfold(1, band, FEATURES_PER_FRAME)  # [B, T, 2 D, band]
        around = around.view(*around.shape[:2], 2, self.heads, -1, band)  # [B, T, 2, H, D / H, band]
        return around.permute(2, 0, 1, 3, 5, 4)

    def forward(self, x: Tensor, bias: Tensor, past: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """The next x [B, T, D], and the keys and values of past and new frames [2, B, H, past + T, D / H]."""
        qkv = self.past_qkv(self.past_norm(x)).unflatten(2, (3, self.heads, -1))  # [B, T, 3, H, D / H]
        qkv = qkv.permute(2, 0, 3, 1, 4)  # [3, B, H, T, D / H]
        past = torch.cat([past, qkv[1:]], dim=3) if past.shape[3] else qkv[1:]
        seen = F.scaled_dot_product_attention(qkv[0], past[0], past[1], attn_mask=bias)
        x = x + self.past_out(seen.transpose(1, 2).flatten(2))

        # A frame has few features to hear and its own ones: plain products are faster here than fused attention.
        query = self.sound_query(self.sound_norm(x)).unflatten(2, (self.heads, 1, -1))  # [B, T, H, 1, D / H]
        keys, values = heard
        shares = torch.softmax((query * keys).sum(dim=-1) / math.sqrt(query.shape[-1]), dim=-1)  # [B, T, H, band]
        x = x + self.sound_out((shares[..., None] * values).sum(dim=-2).flatten(2))

        x = x + self.narrow(F.gelu(self.widen(self.forward_norm(x))))
        return x, past


def _periodic_positions(period: int, width: int) -> Tensor:
    """Sine and cosine position encoding [period, width] of Vaswani et al. 2017, repeated every `period` frames."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(period)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def _distance_bias(config: FaceFormerConfig) -> Tensor:
    """Attention bias [H, window] at distances window - 1 ... 1, 0: constant within a period, and lower further away.

    The slopes are those of ALiBi (Press et al. 2022): a geometric series, so that heads look near and far.
    """
    slopes = 2.0 ** (-8 * torch.arange(1, config.heads + 1) / config.heads)
    distance = torch.arange(config.window - 1, -1, -1)
    return -slopes[:, None] * (distance // config.period)
