"""Tables of figures, as Markdown for people and as plain values for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .intervals import Interval

Cell = str | int | float | Interval


@dataclass(frozen=True)
class Table:
    """Rows of cells under a title.

    key:  names the table in JSON
    note: what is measured, how to read it
    """

    key: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    note: str = ""

    def markdown(self) -> str:
        """The table under its title and note."""
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|---" * len(self.columns) + "|"]
        lines += ["| " + " | ".join(text(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines)

    def plain(self) -> list[dict[str, Any]]:
        """One mapping per row; an interval is [value, low, high], what is not known is null."""
        return [dict(zip(self.columns, map(plain, row), strict=True)) for row in self.rows]


def text(cell: Cell) -> str:
    """A cell in a Markdown table: about three digits; a dash for what is not known."""
    if isinstance(cell, Interval):
        if math.isnan(cell.low):
            return text(cell.value)
        return f"{text(cell.value)} [{text(cell.low)}, {text(cell.high)}]"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "–"
        size = abs(cell)
        short = f"{cell:.0f}" if size >= 99.5 else f"{cell:.1f}" if size >= 9.95 else f"{cell:.2f}"
        return "0.00" if short == "-0.00" else short
    return str(cell).replace("|", "\\|").replace("\n", " ")


def plain(cell: Cell) -> Any:
    """A cell in JSON."""
    if isinstance(cell, Interval):
        return [plain(cell.value), plain(cell.low), plain(cell.high)]
    if isinstance(cell, float):
        return round(cell, 5) if math.isfinite(cell) else None
    return cell
