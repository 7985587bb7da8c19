"""The network that takes noise away: CogVideoX, told by landmarks where the face goes and by face tokens whose it is.

B  batch    F  latent frames    h, w  latent pixels (8 times fewer than pixels)    N, D  face tokens
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from diffusers import CogVideoXTransformer3DModel
from diffusers.models._modeling_parallel import ContextParallelInput, ContextParallelOutput
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch import Tensor, cat, device, nn

if TYPE_CHECKING:
    from typing import Any

Rotary = tuple[Tensor, Tensor]

# Height and width, in patches, of the grid that the model's rotary embedding spans: that of 480 x 720 pixels, also
# where the model works on fewer.
ROTARY_SPAN = (30, 45)


class VideoTransformer(CogVideoXTransformer3DModel):  # type: ignore[misc]
    """Diffusers' CogVideoX transformer, which also says which of its blocks repeat, so that they are compiled once."""

    _repeated_blocks = ["CogVideoXBlock"]  # noqa: RUF012
    current_timestep = 0  # of the call, for caches that work in some steps only


class FaceProjection(nn.Sequential):
    """SigLIP tokens [B, N, D] to what the transformer takes for text [B, N, E]; its weights are `pose_proj` on disk."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, out))


class Condition(NamedTuple):
    """What stays the same through all steps of a window.

    landmarks: [B, F, C, h, w] latents of the drawings
    reference: [B, F, C, h, w] latents of the portrait in the first frame, zeros in the others
    tokens:    [B, N, E] of the face, projected
    no_tokens: [B, N, E] what the projection makes of zeros, for classifier-free guidance
    rotary:    cosines and sines, each [F * h/2 * w/2, head size]
    """

    landmarks: Tensor
    reference: Tensor
    tokens: Tensor
    no_tokens: Tensor
    rotary: Rotary


def predict(transformer: nn.Module, latents: Tensor, condition: Condition, tokens: Tensor, timestep: Tensor) -> Tensor:
    """What the network says of noisy `latents` [B, F, C, h, w]: their velocity, the same shape and type.

    tokens:   [B, N, E], those of `condition` or others in their place
    timestep: [B] whole numbers
    """
    batch = len(latents)
    landmarks, reference = (part.expand(batch, *part.shape[1:]) for part in condition[:2])
    stacked = cat([latents, landmarks, reference], dim=2)  # [B, F, 3 C, h, w]
    out: Tensor = transformer(
        hidden_states=stacked,
        encoder_hidden_states=tokens,
        timestep=timestep,
        image_rotary_emb=condition.rotary,
        return_dict=False,
    )[0]
    return out


def rotary_embedding(config: Any, height: int, width: int, frames: int, where: device) -> Rotary:
    """Rotary position tables for `frames` latent frames of `height` x `width` latent pixels."""
    grid = height // config.patch_size, width // config.patch_size
    cosines, sines = get_3d_rotary_pos_embed(
        embed_dim=config.attention_head_dim,
        crops_coords=((0, 0), ROTARY_SPAN),
        grid_size=grid,
        temporal_size=frames,
        device=where,
    )
    return cosines, sines


def context_parallel_plan(blocks: int) -> dict[str, Any]:
    """How one forward pass is shared among GPUs: both token streams and the rotary tables are cut along the tokens.

    The streams are cut before the first block and joined after the last, whose outputs the head needs whole.
    For `transformer.enable_parallelism(config=..., cp_plan=...)` with the attention processor of `attention`.
    """
    tokens = ContextParallelInput(split_dim=1, expected_dims=3)
    table = ContextParallelInput(split_dim=0, expected_dims=2)
    joined = ContextParallelOutput(gather_dim=1, expected_dims=3)
    return {
        "transformer_blocks.0": {"hidden_states": tokens, "encoder_hidden_states": tokens},
        "transformer_blocks.*": {"image_rotary_emb": [table, table]},
        f"transformer_blocks.{blocks - 1}": [joined, joined],
    }
