"""What makes the transformer faster: compilation, attention backends, caches between steps, several GPUs.

Compilation, backends and sharing change rounding at most. Caches are approximate: they skip work where little changed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

from diffusers import FirstBlockCacheConfig, PyramidAttentionBroadcastConfig

from .attention import DispatchedAttention
from .transformer import context_parallel_plan

CACHES = ("first_block", "pab")


@dataclass(frozen=True)
class Speed:
    """How the transformer is made faster; nothing by default.

    compile:   compile one of its blocks, which all repeat: the first step takes a minute, the others less
    compiler:  torch's backend for that
    attention: a backend of diffusers' dispatcher, as "_flash_3_hub", "_native_cudnn" or "sage"
    cache:     "first_block" skips the other blocks where the first one's output hardly changed since the step before;
               "pab" takes each attention's output again in every other step
    threshold: of "first_block": relative change below which blocks are skipped
    """

    compile: bool = False
    compiler: str = "inductor"
    attention: str | None = None
    cache: Literal["first_block", "pab"] | None = None
    threshold: float = 0.05

    def __post_init__(self) -> None:
        if self.cache not in (None, *CACHES):
            raise ValueError(f"cache must be one of {', '.join(CACHES)} or None, not {self.cache!r}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be 0 to 1, not {self.threshold!r}")


def hasten(transformer: Any, speed: Speed) -> Any:
    """The same transformer, made faster in place. Raises ValueError for an unknown backend."""
    if speed.attention is not None:
        transformer.set_attn_processor(DispatchedAttention())
        transformer.set_attention_backend(speed.attention)
    if speed.cache == "first_block":
        config: Any = FirstBlockCacheConfig(threshold=speed.threshold)  # type: ignore[no-untyped-call]
        transformer.enable_cache(config)
    if speed.cache == "pab":
        config = PyramidAttentionBroadcastConfig(  # type: ignore[no-untyped-call]
            spatial_attention_block_skip_range=2,
            current_timestep_callback=lambda: transformer.current_timestep,
        )
        transformer.enable_cache(config)
    if speed.compile:
        transformer.compile_repeated_blocks(fullgraph=True, backend=speed.compiler)
    return transformer


def replica(transformer: Any, device: str) -> Any:
    """A copy of the transformer on a second GPU, for the half of guidance without a face.

    Both can be hastened afterwards. Raises ValueError for one with a cache, which would be shared.
    """
    if transformer.is_cache_enabled:
        raise ValueError("copy the transformer before its cache is enabled")
    return copy.deepcopy(transformer).to(device)


def share(transformer: Any, config: Any) -> Any:
    """The transformer with its tokens shared among the GPUs of an initialised `torch.distributed` group.

    config: diffusers' ContextParallelConfig, as `ContextParallelConfig(ulysses_degree=2, ulysses_anything=True)`: the
            public model's 729 face tokens do not divide evenly
    """
    transformer.set_attn_processor(DispatchedAttention())
    plan = context_parallel_plan(len(transformer.transformer_blocks))
    transformer.enable_parallelism(config=config, cp_plan=plan)
    return transformer
