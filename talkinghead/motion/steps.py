"""A FaceFormer's frames one after another on the processor, compiled: the same sums as `FaceFormer.forward`.

One frame is too little work for a tensor library: starting its sixty operations takes several times as long as doing
them. Here numba compiles them into one function. Tests hold it to the network's own `generate`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numba
import numpy as np
import torch

from ..types import Array
from .faceformer import STYLE_SCALE, DecoderLayer, FaceFormer, Heard, Past

EPSILON = 1e-5  # of torch's LayerNorm


class LayerWeights(NamedTuple):
    """What all layers of a FaceFormer compute with, stacked: [layers, ...]."""

    norms: Array  # [L, 3, 2, D] gain and shift
    qkv: Array  # [L, 3 D, D]
    qkv_bias: Array
    past_out: Array
    past_out_bias: Array
    query: Array
    query_bias: Array
    sound_out: Array
    sound_out_bias: Array
    widen: Array  # [L, 2 D, D]
    widen_bias: Array
    narrow: Array
    narrow_bias: Array


class EndWeights(NamedTuple):
    """What stands before and after the layers."""

    embed: Array  # [D, C], in units of the channels
    predict: Array  # [C, D], likewise
    predict_bias: Array
    norm: Array  # [2, D]
    bias: Array  # [H, window] of attention to the past


class Stepper:
    """Frames of `network` one after another; its weights are copied once."""

    def __init__(self, network: FaceFormer) -> None:
        self.config = network.config
        self.network = network
        layers = [cast("DecoderLayer", layer) for layer in network.layers]
        with torch.no_grad():
            scale = network.scale
            self.ends = EndWeights(*(_array(each) for each in (
                network.embed.weight / scale, network.predict.weight * scale[:, None], network.predict.bias * scale,
                torch.stack([network.norm.weight, network.norm.bias]), network.bias,
            )))  # fmt: skip
            self.layers = LayerWeights(
                *(_array(torch.stack(each)) for each in zip(*map(_weights, layers), strict=True))
            )

    def generate(self, heard: Heard, previous: Array, past: Past, style: Array | None = None) -> tuple[Array, Past]:
        """Motion [T, C] of the frames in `heard` (of one speech), and the past after them.

        previous: [C] the frame before the first
        style:    [T, 2] strength of jaw and lips; None is neutral
        """
        network = self.network
        frames = heard.layers[0].shape[2]
        numbers = (past.frame + np.arange(frames)) % self.config.period
        added = _array(network.position)[numbers] + _array(network.embed.bias)  # [T, D]
        if style is not None and network.style is not None:
            added = added + (style - 1) / np.float32(STYLE_SCALE) @ _array(network.style.weight).T
        sound = np.stack([_array(layer[:, 0]) for layer in heard.layers])  # [L, 2, T, H, band, D / H]
        kept = _array(torch.stack([layer[:, 0] for layer in past.layers]))  # [L, 2, H, n, D / H]
        remembered = kept.shape[3]
        seen = np.concatenate([kept, np.zeros((*kept.shape[:3], frames, kept.shape[4]), np.float32)], axis=3)
        made = np.empty((frames, len(previous)), np.float32)
        _run(previous.astype(np.float32), np.ascontiguousarray(added, np.float32), sound, seen, remembered, made,
             self.ends, self.layers)  # fmt: skip
        last = seen[:, :, None, :, 1 - self.config.window :]  # [L, 2, 1, H, n, D / H]
        return made, Past(past.frame + frames, tuple(torch.from_numpy(layer.copy()) for layer in last))


def _weights(layer: DecoderLayer) -> tuple[torch.Tensor, ...]:
    """The tensors of one layer, in the order of LayerWeights."""
    norms = [torch.stack([norm.weight, norm.bias]) for norm in (layer.past_norm, layer.sound_norm, layer.forward_norm)]
    linears = (layer.past_qkv, layer.past_out, layer.sound_query, layer.sound_out, layer.widen, layer.narrow)
    return torch.stack(norms), *(tensor for linear in linears for tensor in (linear.weight, linear.bias))


def _array(tensor: torch.Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def _compiled(function: Any) -> Any:
    """`function` compiled at its first call, and kept on disk where that is possible."""
    try:
        return numba.njit(cache=True, nogil=True, fastmath=True)(function)
    except RuntimeError:  # no folder to keep it in can be written
        return numba.njit(nogil=True, fastmath=True)(function)


@_compiled
def _linear(weight: Array, bias: Array, x: Array, out: Array) -> None:  # pragma: no cover - compiled
    out[:] = np.dot(weight, x)
    out += bias


@_compiled
def _normalise(x: Array, norm: Array, out: Array) -> None:  # pragma: no cover
    mean = np.float32(0)
    for index in range(len(x)):
        mean += x[index]
    mean /= len(x)
    variance = np.float32(0)
    for index in range(len(x)):
        variance += (x[index] - mean) ** 2
    factor = np.float32(1 / math.sqrt(variance / len(x) + EPSILON))
    for index in range(len(x)):
        out[index] = (x[index] - mean) * factor * norm[0, index] + norm[1, index]


@_compiled
def _attend(
    query: Array, keys: Array, values: Array, bias: Array, shares: Array, out: Array
) -> None:  # pragma: no cover
    """Attention of one head: query [d], keys and values [n, d], bias [n] or empty, out [d]."""
    count, width = keys.shape
    scale = np.float32(1 / math.sqrt(width))
    highest = np.float32(-1e30)
    for index in range(count):
        total = np.float32(0)
        for column in range(width):
            total += query[column] * keys[index, column]
        total *= scale
        if len(bias):
            total += bias[index]
        shares[index] = total
        highest = max(highest, total)
    whole = np.float32(0)
    for index in range(count):
        shares[index] = math.exp(shares[index] - highest)
        whole += shares[index]
    out[:] = 0
    for index in range(count):
        share = shares[index] / whole
        for column in range(width):
            out[column] += share * values[index, column]


@_compiled
def _run(
    previous: Array,
    added: Array,
    sound: Array,
    seen: Array,
    remembered: int,
    made: Array,
    ends: EndWeights,
    layers: LayerWeights,
) -> None:  # pragma: no cover
    """Fill `made` [T, C] frame by frame, and `seen` [L, 2, H, remembered + T, d] with keys and values."""
    frames, width = added.shape
    heads, head_width = seen.shape[2], seen.shape[4]
    window = ends.bias.shape[1]
    x, normed = np.empty(width, np.float32), np.empty(width, np.float32)
    mixed, out = np.empty(width, np.float32), np.empty(width, np.float32)
    qkv, wide = np.empty(3 * width, np.float32), np.empty(2 * width, np.float32)
    shares = np.empty(max(window, sound.shape[4]), np.float32)
    none = np.empty(0, np.float32)
    for frame in range(frames):
        _linear(ends.embed, added[frame], previous, x)
        now = remembered + frame
        first = max(0, now + 1 - window)
        for layer in range(len(seen)):
            _normalise(x, layers.norms[layer, 0], normed)
            _linear(layers.qkv[layer], layers.qkv_bias[layer], normed, qkv)
            for head in range(heads):
                part = slice(head * head_width, (head + 1) * head_width)
                seen[layer, 0, head, now] = qkv[width:][part]
                seen[layer, 1, head, now] = qkv[2 * width :][part]
                keys, values = seen[layer, 0, head, first : now + 1], seen[layer, 1, head, first : now + 1]
                _attend(qkv[part], keys, values, ends.bias[head, window - len(keys) :], shares, mixed[part])
            _linear(layers.past_out[layer], layers.past_out_bias[layer], mixed, out)
            x += out
            _normalise(x, layers.norms[layer, 1], normed)
            _linear(layers.query[layer], layers.query_bias[layer], normed, out)
            for head in range(heads):
                part = slice(head * head_width, (head + 1) * head_width)
                _attend(
                    out[part], sound[layer, 0, frame, head], sound[layer, 1, frame, head], none, shares, mixed[part]
                )
            _linear(layers.sound_out[layer], layers.sound_out_bias[layer], mixed, out)
            x += out
            _normalise(x, layers.norms[layer, 2], normed)
            _linear(layers.widen[layer], layers.widen_bias[layer], normed, wide)
            for index in range(len(wide)):
                wide[index] *= np.float32(0.5 * (1 + math.erf(wide[index] * 0.7071067811865476)))
            _linear(layers.narrow[layer], layers.narrow_bias[layer], wide, out)
            x += out
        _normalise(x, ends.norm, normed)
        _linear(ends.predict, ends.predict_bias, normed, previous)
        made[frame] = previous
