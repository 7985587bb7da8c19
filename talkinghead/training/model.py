"""The networks that are trained: the two that are shipped, and a head that only teaches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from whisper.model import AudioEncoder

from ..audio_encoder import WhisperConfig
from ..motion.faceformer import FaceFormer, FaceFormerConfig, Heard
from ..types import EXPRESSIONS
from .batches import Batch


class Predicted(NamedTuple):
    """What a model says of a batch: motion [B, T, 58], and what its encoder alone knows.

    phones: [B, A, phones] log-odds
    mouth:  [B, A, 52] expression
    """

    motion: Tensor
    phones: Tensor
    mouth: Tensor


class MotionModel(nn.Module):
    """Audio encoder and FaceFormer; `mouth` reads the encoder's features and is thrown away after training.

    Together with the FaceFormer's phones it teaches the encoder what shuts the lips long before the FaceFormer finds
    out. A `frozen` encoder stays as it is.
    """

    def __init__(self, encoder: AudioEncoder, faceformer: FaceFormerConfig, *, frozen: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.audio_encoder = encoder.requires_grad_(not frozen)
        self.faceformer = FaceFormer(faceformer)
        self.mouth = nn.Linear(faceformer.features, EXPRESSIONS)

    @classmethod
    def seeded(cls, encoder: WhisperConfig, faceformer: FaceFormerConfig, seed: int) -> MotionModel:
        """A model whose random weights depend on `seed` alone; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(encoder.build(), faceformer)

    def listen(self, features: Tensor) -> Heard:
        """What the frames of whole windows hear in features [B, A, D]; the outermost ones are held beyond."""
        config = self.faceformer.config
        held = F.pad(features.transpose(1, 2), (config.behind, config.ahead - 1), mode="replicate")
        return self.faceformer.listen(held.transpose(1, 2))

    def forward(self, batch: Batch, previous: Tensor, passes: int = 0) -> Predicted:
        """What this model makes of `batch` when each frame follows its `previous` one [B, T, 58].

        passes: how often the previous frames are first replaced by the network's own. In training all frames are
            made at once, from the previous ones; doing so from its own frames, repeatedly, comes close to making them
            one after another, at a fraction of the time.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features = self.audio_encoder(batch.mel)  # [B, A, D]
        heard, start, style = self.listen(features), self.faceformer.start(len(batch.mel)), batch.frame_style
        for _ in range(passes):
            with torch.no_grad():
                previous = shifted(self.faceformer(heard, previous, start, style)[0], batch.before)
        motion, _ = self.faceformer(heard, previous, start, style)
        assert self.faceformer.phones is not None  # checked by TrainConfig
        mouth = self.mouth(features) * self.faceformer.scale[:EXPRESSIONS]
        return Predicted(motion, self.faceformer.phones(features), mouth)


def shifted(frames: Tensor, before: Tensor) -> Tensor:
    """The frame before each of `frames` [B, T, 58]; `before` [B, 58] comes before the first."""
    return torch.cat([before[:, None], frames[:, :-1]], dim=1)
