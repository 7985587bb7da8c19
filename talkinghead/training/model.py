"""The networks that are trained: the two that are shipped, and two heads that only teach."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..audio_encoder import WhisperConfig
from ..motion.faceformer import FaceFormer, FaceFormerConfig, Heard
from ..motion.phones import PHONES
from ..types import EXPRESSIONS


class MotionModel(nn.Module):
    """Audio encoder and FaceFormer; `phones` and `mouth` read the encoder's features and are thrown away.

    The heads teach the encoder what shuts the lips long before the FaceFormer finds out.
    """

    def __init__(self, encoder: WhisperConfig, faceformer: FaceFormerConfig) -> None:
        super().__init__()
        self.audio_encoder = encoder.build()
        self.faceformer = FaceFormer(faceformer)
        self.phones = nn.Linear(encoder.n_state, len(PHONES))
        self.mouth = nn.Linear(encoder.n_state, EXPRESSIONS)

    @classmethod
    def seeded(cls, encoder: WhisperConfig, faceformer: FaceFormerConfig, seed: int) -> MotionModel:
        """A model whose random weights depend on `seed` alone; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(encoder, faceformer)

    def listen(self, features: Tensor) -> Heard:
        """What the frames of whole windows hear in features [B, A, D]; the outermost ones are held beyond."""
        config = self.faceformer.config
        held = F.pad(features.transpose(1, 2), (config.behind, config.ahead - 1), mode="replicate")
        return self.faceformer.listen(held.transpose(1, 2))
