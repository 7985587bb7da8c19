"""Attention through diffusers' dispatcher, so that its faster backends can be chosen and GPUs can share the tokens.

The stock processor of CogVideoX calls PyTorch's attention itself: setting a backend there changes nothing, silently.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, cat

from .transformer import Rotary


class DispatchedAttention:
    """Joint attention over face tokens and video tokens, with the same numbers as the stock processor."""

    _attention_backend: Any = None  # set by `set_attention_backend`
    _parallel_config: Any = None  # set by `enable_parallelism`

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video tokens [B, L, D] and face tokens [B, N, D], each having looked at both."""
        faces = encoder_hidden_states.shape[1]
        tokens = cat([encoder_hidden_states, hidden_states], dim=1)
        query, key, value = (
            layer(tokens).unflatten(-1, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )  # [B, N + L, heads, D / heads]
        query, key = attn.norm_q(query), attn.norm_k(key)
        if image_rotary_emb is not None:
            query, key = (_rotated(part, faces, image_rotary_emb) for part in (query, key))
        seen = dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=attention_mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )
        out = attn.to_out[1](attn.to_out[0](seen.flatten(2)))
        return out[:, faces:], out[:, :faces]


def _rotated(heads: Tensor, faces: int, rotary: Rotary) -> Tensor:
    """Queries or keys [B, N + L, heads, d], the video's turned by where they are."""
    turned: Any = apply_rotary_emb(heads[:, faces:].transpose(1, 2), rotary)  # type: ignore[arg-type]
    return cat([heads[:, :faces], turned.transpose(1, 2)], dim=1)
