"""The same networks, sooner: every change here is exact, and tested equal to the plain path.

What a checkpoint stores apart is multiplied out once (spectral norms, batch norms), channels are rounded up to what
matrix units like, convolutions of one input become one, and those of a map whose pixels were doubled run on the map
as it was before. In the public sizes a frame takes 1,233.6 GFLOP plain and 1,090 so.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .appearance import AppearanceExtractor, ConvNorm, ResidualBlock3d
from .generator import EPSILON, SLOPE, Generator, SpadeBlock, SpadeNorm, SpectralConv2d
from .hourglass import ConvNorm3d, Decoder, UpBlock3d
from .sizes import KEYPOINTS
from .warping import DenseMotion, WarpingModule

MULTIPLE = 16  # channels that matrix units take at once
MASKS = 32  # for 22, where they are used


def fold(network: nn.Module) -> nn.Module:
    """Multiply out the spectral and batch norms of `network`, in place, for evaluation."""
    network.eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, SpectralConv2d):
                setattr(module, name, _plain_conv(child))
        for conv, norm in _conv_norm_pairs(module):
            fused = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
            setattr(module, conv, fused.requires_grad_(False))
            setattr(module, norm, nn.Identity())
    return network


def _conv_norm_pairs(module: nn.Module) -> Iterable[tuple[str, str]]:
    if isinstance(module, ConvNorm | ConvNorm3d | Decoder):
        yield "conv", "norm"
    elif isinstance(module, ResidualBlock3d):
        yield "conv1", "norm2"  # norm1 comes before a ReLU and after a sum: nothing can take it up
    elif isinstance(module, DenseMotion):
        yield "compress", "norm"


def _plain_conv(conv: SpectralConv2d) -> nn.Conv2d:
    return _conv2d(conv.weight, conv.bias, conv.weight_orig.shape[-1] // 2)


def _conv2d(weight: Tensor, bias: Tensor | None, padding: int = 1) -> nn.Conv2d:
    """A convolution of this weight [O, I, K, K] and bias [O]."""
    outputs, inputs, size, _ = weight.shape
    with torch.device("meta"):
        conv = nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias is not None)
    conv.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv


def fast_appearance(network: AppearanceExtractor) -> AppearanceExtractor:
    """`network`, folded."""
    fold(network)
    return network


def fast_warping(network: WarpingModule) -> WarpingModule:
    """`network`, folded, with padded channels and convolutions before the upsampling; changed in place."""
    fold(network)
    dense = network.dense_motion_network
    pad_channels(dense)
    blocks = dense.hourglass.decoder.up_blocks
    for index, block in enumerate(blocks):
        blocks[index] = PhaseConv(cast("nn.Conv3d", cast("UpBlock3d", block).conv), 2)
    return network


def pad_channels(dense: DenseMotion) -> None:
    """Round the channels of the hourglass's input and output, 110 and 142, up to 112 and 144.

    The added channels are 0 throughout: their weights and biases are, and ReLU keeps 0.
    """
    hourglass = dense.hourglass
    first = cast("ConvNorm3d", hourglass.encoder.down_blocks[0])
    conv = cast("nn.Conv3d", first.conv)
    narrow, wide = conv.in_channels, _rounded(conv.in_channels)
    last = hourglass.decoder.conv
    depth = cast("nn.Conv2d", dense.occlusion).in_channels // last.out_channels
    outputs = last.out_channels + wide - narrow
    hourglass.padding = wide - narrow
    first.conv = _padded(conv, wide, conv.out_channels)
    hourglass.decoder.conv = _padded(last, outputs, outputs)
    dense.mask = _padded(cast("nn.Conv3d", dense.mask), outputs, KEYPOINTS + 1)
    weight = cast("nn.Conv2d", dense.occlusion).weight
    weight = weight.reshape(1, last.out_channels, depth, *weight.shape[2:])
    weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, wide - narrow)).flatten(1, 2)
    dense.occlusion = _conv2d(weight, cast("nn.Conv2d", dense.occlusion).bias, padding=3)


def _rounded(channels: int) -> int:
    return -(-channels // MULTIPLE) * MULTIPLE


def _padded(conv: nn.Conv3d, inputs: int, outputs: int) -> nn.Conv3d:
    """`conv` with more channels, which are 0."""
    with torch.device("meta"):
        wider = nn.Conv3d(inputs, outputs, cast("Any", conv.kernel_size), padding=cast("Any", conv.padding))
    more = outputs - conv.out_channels
    weight = F.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, inputs - conv.in_channels, 0, more))
    wider.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    assert conv.bias is not None
    wider.bias = nn.Parameter(F.pad(conv.bias, (0, more)).detach(), requires_grad=False)
    return wider


class PhaseConv(nn.Module):
    """A 3 x 3 (x 3) convolution of a map whose height and width were enlarged, run on the map as it was.

    An output pixel sees 3 enlarged rows, which are at most 2 rows of the map; so its 3 weights become 2 or 1. Rows
    of one `phase` (the first of each enlarged row, those between, the last) share their weights, and so do columns.
    Padding is the same: beyond the border both have zeros.

    factor: 2 or 4
    """

    def __init__(self, conv: nn.Conv2d | nn.Conv3d, factor: int) -> None:
        super().__init__()
        self.factor, self.bias = factor, conv.bias
        self.depth = (1,) if conv.weight.ndim == 5 else ()  # a third dimension in front keeps its padding
        first, last = (0, [0]), (2, [factor - 1])
        phases = [first, last] if factor == 2 else [first, (1, list(range(1, factor - 1))), last]
        self.phases = list(product(phases, phases))
        self.kernels = nn.ParameterList(
            nn.Parameter(self._merge(conv.weight, rows[0], columns[0]), requires_grad=False)
            for rows, columns in self.phases
        )

    @staticmethod
    def _merge(weight: Tensor, row: int, column: int) -> Tensor:
        """The weights of phase `row`, `column`: 0 is the first pixel of an enlarged one, 1 between, 2 the last."""
        for axis, phase in ((-2, row), (-1, column)):
            a, b, c = weight.unbind(axis)
            merged = ([a, b + c], [a + b + c], [a + b, c])[phase]
            weight = torch.stack(merged, axis)
        return weight.detach().contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, (D,) H, W] to [B, O, (D,) factor H, factor W]."""
        height, width = x.shape[-2:]
        convolve = F.conv3d if self.depth else F.conv2d
        padding = (*self.depth, 0, 0)
        drawn: Tensor | None = None
        for kernel, ((row, rows), (column, columns)) in zip(self.kernels, self.phases, strict=True):
            sides = (int(column == 0), int(column == 2), int(row == 0), int(row == 2))
            y = convolve(F.pad(x, sides), kernel, self.bias, padding=padding)
            if drawn is None:
                shape = (*y.shape[:-2], height * self.factor, width * self.factor)
                drawn = torch.empty(shape, dtype=y.dtype, device=y.device, memory_format=_layout(y))
            for r, c in product(rows, columns):
                drawn[..., r :: self.factor, c :: self.factor] = y
        assert drawn is not None
        return drawn


def _layout(x: Tensor) -> torch.memory_format:
    last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return last if x.is_contiguous(memory_format=last) else torch.contiguous_format


class FastGenerator(nn.Module):
    """A generator whose modulation is computed in few, large convolutions."""

    def __init__(self, network: Generator) -> None:
        super().__init__()
        fold(network)
        self.fc = network.fc
        middle = [cast("SpadeBlock", network.get_submodule(f"G_middle_{i}")) for i in range(network.blocks)]
        norms = [norm for block in middle for norm in (block.norm_0, block.norm_1)]
        self.shared = _merged([cast("nn.Conv2d", norm.mlp_shared[0]) for norm in norms])
        self.middle = nn.ModuleList(FastBlock(block) for block in middle)
        self.up_0, self.up_1 = FastBlock(network.up_0, 2), FastBlock(network.up_1, 4)
        self.conv_img = network.conv_img

    def forward(self, feature: Tensor) -> Tensor:
        x = self.fc(feature)
        shared = F.relu(self.shared(feature)).chunk(2 * len(self.middle), 1)  # each [B, 128, 64, 64]
        for index, block in enumerate(self.middle):
            x = block(x, shared[2 * index : 2 * index + 2])
        for block in (self.up_0, self.up_1):
            x = block(F.interpolate(x, scale_factor=2), block.share(feature))
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, SLOPE)))


class FastBlock(nn.Module):
    """A SPADE block that is given its norms' shared maps.

    factor: how much its norms' feature map must be enlarged; None where the maps come from elsewhere
    """

    def __init__(self, block: SpadeBlock, factor: int | None = None) -> None:
        super().__init__()
        norms = [block.norm_0, block.norm_1, *([block.norm_s] if block.resized else [])]
        self.modulations = nn.ModuleList(_modulation(norm) for norm in norms)
        self.conv_0, self.conv_1 = block.conv_0, block.conv_1
        self.conv_s = block.conv_s if block.resized else None
        if factor is not None:
            self.shared = PhaseConv(_merged([cast("nn.Conv2d", norm.mlp_shared[0]) for norm in norms]), factor)

    def share(self, feature: Tensor) -> tuple[Tensor, ...]:
        """The shared map of each norm, at this block's resolution."""
        return F.relu(self.shared(feature)).chunk(len(self.modulations), 1)

    def forward(self, x: Tensor, shared: tuple[Tensor, ...]) -> Tensor:
        shortcut, normed = x, F.instance_norm(x, eps=EPSILON)
        if self.conv_s is not None:
            shortcut = self.conv_s(self._modulate(2, normed, shared))
        x = self.conv_0(F.leaky_relu(self._modulate(0, normed, shared), SLOPE))
        x = self._modulate(1, F.instance_norm(x, eps=EPSILON), shared)
        x = shortcut + self.conv_1(F.leaky_relu(x, SLOPE))
        return x

    def _modulate(self, norm: int, normed: Tensor, shared: tuple[Tensor, ...]) -> Tensor:
        gain, shift = self.modulations[norm](shared[norm]).chunk(2, 1)
        return torch.addcmul(shift, normed, gain)


def _merged(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """One convolution that gives what `convs`, of the same input, give one after the other."""
    biases = [conv.bias for conv in convs if conv.bias is not None]
    return _conv2d(torch.cat([conv.weight for conv in convs]), torch.cat(biases))


def _modulation(norm: SpadeNorm) -> nn.Conv2d:
    """Gain and shift in one convolution; the gain's 1 is in its bias."""
    both = _merged([norm.mlp_gamma, norm.mlp_beta])
    assert both.bias is not None
    with torch.no_grad():
        both.bias[: norm.mlp_gamma.out_channels] += 1
    return both


def lay_out(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """`network` in `dtype`, with the channels last in memory where that type of number is sooner so."""
    network = network.to(dtype)
    if dtype != torch.float32:
        if isinstance(network, WarpingModule) and network.dense_motion_network.hourglass.padding:
            # Matrix units take 32 masks in a fraction of the time of 22; in float32 they would be more work.
            mask = cast("nn.Conv3d", network.dense_motion_network.mask)
            network.dense_motion_network.mask = _padded(mask, mask.in_channels, MASKS)
        for parameter in network.parameters():
            if parameter.ndim >= 4:
                last = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
                parameter.data = parameter.data.contiguous(memory_format=last)
    return network
