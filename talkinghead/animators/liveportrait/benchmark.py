"""What a frame costs, by network, plain and optimised: `python -m talkinghead.animators.liveportrait.benchmark`.

On a CPU a millisecond is one of process time, summed over threads, so that other programs do not count; on a GPU it
is one of the wall, synchronised. Weights are random unless a folder is given: they do not change the time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from .appearance import AppearanceExtractor
from .generator import Generator
from .heads import EyeRetargeting, LipRetargeting, Stitching
from .loading import PRECISIONS, Networks, load_networks, optimise, place
from .motion_extractor import MotionExtractor
from .sizes import KEYPOINTS, PUBLIC, Sizes
from .warping import WarpingModule

AUTHORS_GPU_MS = 12.8  # W and G of a frame on an RTX 4090, compiled, float16: the public repository's own figure
EVERY_FRAME = ("stitching", "warping", "generator")


def random_networks(sizes: Sizes = PUBLIC, device: str = "cpu") -> Networks:
    """Networks with torch's initial weights; those on "meta" have sizes alone."""
    torch.manual_seed(0)
    with torch.device(device):
        networks = Networks(
            AppearanceExtractor(sizes).eval(),
            MotionExtractor(sizes).eval(),
            WarpingModule(sizes).eval(),
            Generator(sizes).eval(),
            Stitching().eval(),
            LipRetargeting().eval(),
            EyeRetargeting().eval(),
        )
    for network in vars(networks).values():
        if isinstance(network, torch.nn.Module):
            network.requires_grad_(False)
    return networks


def calls(networks: Networks, sizes: Sizes = PUBLIC, batch: int = 1) -> dict[str, Callable[[], Any]]:
    """One call of each network, for `batch` frames."""
    device, dtype = networks.device, networks.dtype
    image = torch.rand(1, 3, 256, 256, device=device)
    volume = torch.randn(1, sizes.volume_channels, sizes.volume_depth, 64, 64, device=device)
    feature = torch.randn(batch, sizes.warped, 64, 64, device=device).to(dtype)
    driving = 0.3 * torch.randn(batch, KEYPOINTS, 3, device=device)
    source = driving[:1] + 0.02
    return {
        "appearance": lambda: networks.appearance(image),
        "motion": lambda: networks.motion(image),
        "stitching": lambda: networks.stitching.stitch(source, driving),
        "warping": lambda: networks.warping(volume, driving, source.expand_as(driving)),
        "generator": lambda: networks.generator(feature),
    }


def flops(networks: Networks, sizes: Sizes = PUBLIC) -> dict[str, float]:
    """GFLOP of each network for a frame, two for each multiplication and addition; nothing is computed."""
    shadow = place(copy.deepcopy(networks), "meta", torch.float32)
    counted = {}
    for name, call in calls(shadow, sizes).items():
        with FlopCounterMode(display=False) as counter:
            call()
        counted[name] = counter.get_total_flops() / 1e9
    return counted


def milliseconds(call: Callable[[], Any], device: str, repeats: int) -> float:
    """The median over `repeats` calls, after one that does not count."""
    on_cpu = device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    taken = []
    for _ in range(repeats + 1):
        start = clock()
        call()
        if not on_cpu:
            torch.cuda.synchronize()
        taken.append(1000 * (clock() - start))
    return statistics.median(taken[1:])


@torch.inference_mode()
def measure(plain: Networks, device: str, precision: str, repeats: int, batch: int, sizes: Sizes) -> list[list[str]]:
    """Rows of name, GFLOP and milliseconds a frame: plain, optimised, and optimised in `precision`."""
    fast = optimise(plain)
    short = place(copy.deepcopy(fast), device, PRECISIONS[precision], compiled=device != "cpu")
    variants = [place(plain, device, torch.float32), place(fast, device, torch.float32), short]
    columns: list[dict[str, tuple[float, float]]] = []
    work = [flops(plain, sizes), flops(fast, sizes)]
    for networks, counted in zip(variants, (*work, work[1]), strict=True):
        column = {}
        for name, call in calls(networks, sizes, batch).items():
            frames = batch if name in EVERY_FRAME else 1
            column[name] = (counted[name], milliseconds(call, device, repeats) / frames)
        columns.append(column)
    for column in columns:
        column["a frame"] = tuple(sum(column[name][i] for name in EVERY_FRAME) for i in (0, 1))  # type: ignore[assignment]
    rows = []
    for name, (plain_flops, plain_time) in columns[0].items():
        fast_flops, fast_time = columns[1][name]
        numbers = [plain_flops, plain_time, fast_flops, fast_time, columns[2][name][1]]
        rows.append([name, *(f"{number:.2f}" if number < 10 else f"{number:,.0f}" for number in numbers)])
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="What a frame costs, by network, plain and optimised.")
    parser.add_argument("--weights", type=Path, help="a folder in the public layout; else random weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, help="frames drawn at once; 1 on a CPU, 8 elsewhere")
    parser.add_argument("--precision", choices=["bfloat16", "float16"], help="bfloat16 on a CPU, float16 elsewhere")
    options = parser.parse_args(arguments)
    on_cpu = options.device == "cpu"
    precision = options.precision or ("bfloat16" if on_cpu else "float16")
    plain = random_networks() if options.weights is None else load_networks(options.weights, optimised=False)
    rows = measure(plain, options.device, precision, options.repeats, options.batch or (1 if on_cpu else 8), PUBLIC)
    unit = "CPU ms" if on_cpu else "ms"
    head = ["network", "GFLOP plain", f"{unit} plain", "GFLOP fast", f"{unit} fast", f"{unit} fast {precision}"]
    for cells in (head, ["---"] * len(head), *rows):
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    threads = f"{torch.get_num_threads()} threads" if on_cpu else torch.cuda.get_device_name()
    sys.stdout.write(f"\n{threads}, torch {torch.__version__}; median of {options.repeats}\n")
    if not on_cpu:
        sys.stdout.write(f"the authors' figure for warping and generator on an RTX 4090: {AUTHORS_GPU_MS} ms\n")


if __name__ == "__main__":
    main()
