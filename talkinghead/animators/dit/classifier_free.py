"""Classifier-free guidance: the prediction with the face, pushed away from the prediction without one.

Ho and Salimans, Classifier-Free Diffusion Guidance, 2022. Three ways to the same numbers, and one that leaves a part
of the steps unguided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers import PyramidAttentionBroadcastConfig
from torch import Tensor, nn

from .transformer import Condition, predict

Batching = Literal["batched", "sequential"]


@dataclass(frozen=True)
class Guided:
    """Predicts velocities [1, F, C, h, w] in float32, guided by `scale`.

    transformer: the network
    scale:       1 leaves guidance out, and with it half of the work
    batching:    "batched" runs both halves at once, "sequential" one after the other in half the memory
    until:       share of the steps that are guided, from the first on: faces are settled early
    replica:     the same network on a second GPU, which predicts without the face at the same time
    """

    transformer: nn.Module
    scale: float = 3.0
    batching: Batching = "batched"
    until: float = 1.0
    replica: nn.Module | None = None

    def __post_init__(self) -> None:
        kept = getattr(self.transformer, "_cache_config", None)
        if self.batching == "sequential" and isinstance(kept, PyramidAttentionBroadcastConfig):
            # Its cache does not know of branches: each half would be given the other's attention.
            raise ValueError('the "pab" cache needs batching="batched"')

    def __call__(self, latents: Tensor, condition: Condition, timestep: Tensor, step: int, steps: int) -> Tensor:
        """The velocity of `latents` at `timestep`, in step number `step` of `steps`."""
        alone = 0 if self.scale == 1 else round(self.until * steps)  # the first step without guidance
        self._tell(int(timestep), fresh=step in (0, alone))
        if step >= alone:
            with _branch(self.transformer, "face"):
                return predict(self.transformer, latents, condition, condition.tokens, timestep[None]).float()
        without, with_face = self._halves(latents, condition, timestep)
        return without + self.scale * (with_face - without)

    def _tell(self, timestep: int, fresh: bool) -> None:
        """Tell the networks' caches where they are, and empty them before what they do not know."""
        for network in (self.transformer, self.replica):
            if network is not None and getattr(network, "is_cache_enabled", False):
                network.current_timestep = timestep  # type: ignore[assignment]
                if fresh:
                    network._reset_stateful_cache()  # type: ignore[operator]

    def _halves(self, latents: Tensor, condition: Condition, timestep: Tensor) -> tuple[Tensor, Tensor]:
        if self.replica is not None:
            return self._on_two_devices(latents, condition, timestep)
        if self.batching == "batched":
            tokens = torch.cat([condition.no_tokens, condition.tokens])
            with _branch(self.transformer, "both"):
                both = predict(
                    self.transformer, latents.expand(2, *latents.shape[1:]), condition, tokens, timestep.expand(2)
                )
            without, with_face = both.float().chunk(2)
            return without, with_face
        with _branch(self.transformer, "no face"):
            without = predict(self.transformer, latents, condition, condition.no_tokens, timestep[None])
        with _branch(self.transformer, "face"):
            with_face = predict(self.transformer, latents, condition, condition.tokens, timestep[None])
        return without.float(), with_face.float()

    def _on_two_devices(self, latents: Tensor, condition: Condition, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """The half without a face on the replica's device. GPUs work at once, because launches do not wait."""
        assert self.replica is not None
        there = next(self.replica.parameters()).device
        moved = Condition(*(move(part, there) for part in condition))
        with _branch(self.replica, "no face"):
            away = predict(self.replica, latents.to(there), moved, moved.no_tokens, timestep.to(there)[None])
        with _branch(self.transformer, "face"):
            with_face = predict(self.transformer, latents, condition, condition.tokens, timestep[None])
        return away.to(latents.device).float(), with_face.float()


def move(part: Any, device: torch.device) -> Any:
    """A tensor, or a tuple of them, on `device`."""
    return tuple(item.to(device) for item in part) if isinstance(part, tuple) else part.to(device)


def _branch(transformer: nn.Module, name: str) -> Any:
    """Where step caches keep what belongs to one branch."""
    return transformer.cache_context(name)  # type: ignore[operator]
