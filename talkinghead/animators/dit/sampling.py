"""From noise to pictures in three pure functions: `prepare`, `denoise`, `decode`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import diffusers
import numpy as np
import torch
from torch import Tensor

from ...errors import NumericalError
from ...types import Array, Frame
from .classifier_free import Batching, Guided
from .conditioning import Reference, window_condition
from .networks import Networks
from .transformer import Condition

Enter = Callable[[int, Tensor], Tensor]  # the state that enters a step, and what to make of it
Steer = Callable[[Tensor, Tensor, float], Tensor]  # velocity, noisy latents and their alpha, and another velocity


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn.

    steps:     of the scheduler; the published pipeline takes 10
    guidance:  scale of classifier-free guidance; 1 leaves it out
    guided:    share of the steps that are guided, from the first on
    batching:  of the two halves of guidance
    scheduler: "ddim" or "dpm"; None takes the checkpoint's
    """

    steps: int = 10
    guidance: float = 3.0
    guided: float = 1.0
    batching: Batching = "batched"
    scheduler: Literal["ddim", "dpm"] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps must be 1 to 1000, not {self.steps!r}")
        if not 1 <= self.guidance <= 20:
            raise ValueError(f"guidance must be 1 to 20, not {self.guidance!r}")
        if not 0 <= self.guided <= 1:
            raise ValueError(f"guided must be a share of 0 to 1, not {self.guided!r}")
        if self.batching not in ("batched", "sequential"):
            raise ValueError(f'batching must be "batched" or "sequential", not {self.batching!r}')
        if self.scheduler not in (None, "ddim", "dpm"):
            raise ValueError(f'scheduler must be "ddim", "dpm" or None, not {self.scheduler!r}')

    def new_scheduler(self, networks: Networks) -> Any:
        """A fresh scheduler with the checkpoint's settings, its steps set."""
        names = {"ddim": "CogVideoXDDIMScheduler", "dpm": "CogVideoXDPMScheduler"}
        own = networks.scheduler
        kind = type(own) if self.scheduler is None else getattr(diffusers, names[self.scheduler])
        scheduler = kind.from_config({key: value for key, value in own.config.items() if not key.startswith("_")})
        scheduler.set_timesteps(self.steps, device=networks.device)
        return scheduler

    def guide(self, networks: Networks) -> Guided:
        """The predictor that these settings ask for."""
        return Guided(networks.transformer, self.guidance, self.batching, self.guided)


class Start(NamedTuple):
    """Where a window starts: noise [1, F, C, h, w], and what it is told."""

    noise: Tensor
    condition: Condition


def prepare(
    networks: Networks,
    reference: Reference,
    drawings: Sequence[Frame],
    generator: torch.Generator,
    latents: Tensor | None = None,
) -> Start:
    """Noise and condition of one window; `drawings` begin with the reference's.

    generator: of the CPU. Drawn from in the published order: the reference's latents, then the noise
    latents:   [1, 1, C, h, w] of the reference, if they were drawn before
    """
    if latents is None:
        latents = reference.latents(generator)
    _, _, channels, height, width = latents.shape
    shape = (1, networks.latent_frames, channels, height, width)
    noise = torch.randn(shape, generator=generator, dtype=networks.dtype).to(networks.device)
    return Start(noise, window_condition(networks, reference, latents, drawings))


@torch.no_grad()
def denoise(
    networks: Networks,
    start: Start,
    settings: Sampling,
    generator: torch.Generator,
    *,
    enter: Enter | None = None,
    steer: Steer | None = None,
    guide: Guided | None = None,
) -> Tensor:
    """Latents [1, F, C, h, w] of a window.

    generator: the one of `prepare`; the DPM scheduler draws new noise in each step
    enter:     called with the number of each step and the state that enters it, and once more after the last step;
               what it returns goes on
    steer:     changes each prediction
    guide:     predicts; None takes what `settings` asks for

    Raises NumericalError.
    """
    scheduler, guide = settings.new_scheduler(networks), guide or settings.guide(networks)
    latents = start.noise * scheduler.init_noise_sigma
    state: Any = None
    for step, timestep in enumerate(scheduler.timesteps):
        if enter is not None:
            latents = enter(step, latents)
        velocity = guide(latents, start.condition, timestep, step, settings.steps)
        if steer is not None:
            velocity = steer(velocity, latents, float(scheduler.alphas_cumprod[timestep]))
        latents, state = advance(scheduler, velocity, latents, step, state, generator)
        latents = latents.to(networks.dtype)
    if not bool(torch.isfinite(latents).all()):
        raise NumericalError(f"the video transformer produced NaN or infinity ({networks.dtype})")
    return latents if enter is None else enter(settings.steps, latents)


def advance(
    scheduler: Any, velocity: Tensor, latents: Tensor, step: int, state: Any, generator: torch.Generator
) -> tuple[Tensor, Any]:
    """One step of a scheduler of either kind; `state` is what the step before left for it."""
    times = scheduler.timesteps
    multistep = isinstance(scheduler, diffusers.CogVideoXDPMScheduler)
    if multistep:
        before = times[step - 1] if step else None
        moved, state = scheduler.step(
            velocity, state, times[step], before, latents, eta=0.0, generator=generator, return_dict=False
        )
        return moved, state
    return scheduler.step(velocity, times[step], latents, eta=0.0, return_dict=False)[0], None


@torch.no_grad()
def decode(vae: Any, latents: Tensor) -> Array:
    """Pictures [1 + 4 (F - 1), H, W, 3], 0 to 1, of latents [1, F, C, h, w]. Raises NumericalError."""
    video = vae.decode(latents.permute(0, 2, 1, 3, 4).to(vae.dtype) / vae.config.scaling_factor).sample[0]
    pictures: Array = (video.permute(1, 2, 3, 0).float() / 2 + 0.5).clamp(0, 1).cpu().numpy()
    if not np.isfinite(pictures).all():
        raise NumericalError("the video decoder produced NaN or infinity")
    return pictures


def as_frames(pictures: Iterable[Array]) -> Iterator[Frame]:
    """Pictures 0 to 1 as frames of uint8, rounded."""
    for picture in pictures:
        yield np.rint(picture * 255).astype(np.uint8)
