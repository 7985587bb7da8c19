"""Fitting the networks into memory, and saying so where they do not."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers.hooks.group_offloading import apply_group_offloading

from ...errors import DeviceOutOfMemory
from .networks import Networks

Memory = Literal["auto", "low"]

LARGE = 2**20  # bytes; blocks of this size and more are the networks', not the interpreter's
M_MMAP_THRESHOLD = -3  # of <malloc.h>


def place(networks: Networks, device: str, memory: Memory = "auto") -> Networks:
    """The same networks, on `device`.

    memory: "auto" keeps all of them there (about 20 GB and more for the public model). "low" keeps the transformer's
            weights in 8 bits (about 6 GB, approximate), the other large networks in the CPU's memory until they are
            needed, and decodes in tiles

    On a CPU the process keeps no large free blocks from then on, see `keep_heap_whole`.

    Raises ValueError, DeviceOutOfMemory.
    """
    if memory not in ("auto", "low"):
        raise ValueError(f'memory must be "auto" or "low", not {memory!r}')
    if torch.device(device).type == "cpu":
        keep_heap_whole()
    with memory_errors():
        if memory == "low":
            _spare(networks, torch.device(device))
        for name, module in networks.modules.items():
            if memory == "auto" or name in ("transformer", "face_projection"):
                module.to(device)
    return networks


def _spare(networks: Networks, device: torch.device) -> None:
    kind: Any = networks.transformer
    kind.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=networks.dtype)
    networks.vae.enable_tiling()
    for module in (networks.vae, networks.landmark_encoder, networks.face_encoder):
        offload(module, device)


def offload(module: Any, device: torch.device) -> None:
    """Keep `module` in the CPU's memory, and each of its layers on `device` only while it runs."""
    apply_group_offloading(module, onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level")


def keep_heap_whole() -> bool:
    """Give large blocks back to the system when they are freed, in all of this process; whether that can be said.

    By itself glibc takes blocks of up to 32 MB from its heap once one of them was freed. There the decoder's blocks
    lie between lasting ones, and from window to window they find other places: over 200 MB of holes, more or fewer by
    chance. Nothing is changed for other C libraries, or where MALLOC_MMAP_THRESHOLD_ is set.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    return tell is not None and bool(tell(M_MMAP_THRESHOLD, LARGE))


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise DeviceOutOfMemory where torch runs out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceOutOfMemory(
            f"the GPU's memory does not hold the video transformer: {str(error).splitlines()[0]}",
            'use memory="low", batching="sequential", or a GPU with more memory; close what else runs on it',
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what torch says on a CPU
            raise
        raise DeviceOutOfMemory(
            f"this machine's memory does not hold the video transformer: {str(error).splitlines()[0]}",
            "use a machine with more memory",
        ) from error
