"""How wide and deep the networks are: the public checkpoints have the default sizes."""

from __future__ import annotations

from dataclasses import dataclass

KEYPOINTS = 21
BINS = 66  # of each head angle
FACE = 256  # pixels: what the networks see of a face
PICTURE = 512  # pixels: what the generator draws of it


@dataclass(frozen=True)
class Sizes:
    """Channels and blocks of the networks.

    width:            channels after the first convolution of the appearance extractor
    volume_channels:  C of the appearance volume [C, D, H, W]
    volume_depth:     D of it
    residual_blocks:  3D blocks of the appearance extractor
    motion_depths:    blocks in each stage of the motion extractor
    motion_widths:    channels in each stage
    compressed:       channels of the volume that the motion is estimated from
    hourglass_width:  channels at the hourglass's output; each level below has twice as many
    hourglass_levels: how often it halves height and width
    hourglass_most:   channels that no level exceeds
    warped:           channels of the warped feature that the generator draws
    generator_blocks: blocks at the lowest resolution
    modulation:       hidden channels of the generator's spatially adaptive normalisation
    drawn:            channels of the generator's last block
    """

    width: int = 64
    volume_channels: int = 32
    volume_depth: int = 16
    residual_blocks: int = 6
    motion_depths: tuple[int, ...] = (3, 3, 9, 3)
    motion_widths: tuple[int, ...] = (96, 192, 384, 768)
    compressed: int = 4
    hourglass_width: int = 32
    hourglass_levels: int = 5
    hourglass_most: int = 1024
    warped: int = 256
    generator_blocks: int = 6
    modulation: int = 128
    drawn: int = 64

    def __post_init__(self) -> None:
        counts = [value for value in vars(self).values() if isinstance(value, int)]
        if min(*counts, *self.motion_depths, *self.motion_widths) < 1:
            raise ValueError("sizes must all be 1 or more")
        if len(self.motion_depths) != 4 or len(self.motion_widths) != 4:
            raise ValueError("the motion extractor has 4 stages: motion_depths and motion_widths must name 4")
        if self.hourglass_levels > 6:
            raise ValueError(f"hourglass_levels must be 6 or less for a map of 64 x 64, not {self.hourglass_levels}")

    def hourglass(self, level: int) -> int:
        """Channels of the hourglass at a level: 0 is its output's resolution."""
        return min(self.hourglass_most, self.hourglass_width << level)

    @property
    def motion_input(self) -> int:
        """Channels that the hourglass sees: for each keypoint and none, a heat map and the compressed volume."""
        return (KEYPOINTS + 1) * (1 + self.compressed)

    @property
    def hourglass_output(self) -> int:
        """Channels that the hourglass gives: its last level beside its input."""
        return self.hourglass_width + self.motion_input


PUBLIC = Sizes()
