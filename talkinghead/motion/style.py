"""Speaking styles: how strongly jaw and lips take part in speech."""

from __future__ import annotations

from typing import NamedTuple


class Style(NamedTuple):
    """Strength of the jaw's and of the lips' movement, 1 as fitted to real speakers."""

    jaw: float = 1.0
    lips: float = 1.0


NEUTRAL = Style()
