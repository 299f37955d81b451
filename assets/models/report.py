"""Ranks, tables, and the section of a model card with the last evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

BEGIN, END = "<!-- evaluation: written by the evaluation script -->", "<!-- end of evaluation -->"


def ranks(queries: Tensor, gallery: Tensor, right: Tensor) -> Tensor:
    """Rank (0 is best) of gallery row `right[q]` for each query; unit vectors [Q, E] and [G, E]; ties count as
    worse."""
    scores = queries @ gallery.T
    own = scores.gather(1, right[:, None])
    return (scores >= own).sum(1) - 1


def recall(rank: Tensor, k: int) -> float:
    """Share of queries whose right answer is among the first k, 0..1."""
    return float((rank < k).float().mean())


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table with padded columns, which also reads well in a terminal."""
    lines = [header, tuple("-" * len(h) for h in header), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def publish(text: str, figures: dict[str, float], card: Path | None, json_file: Path | None) -> None:
    """Print the table, put the same text into the card between its two marks, and write the figures as JSON."""
    print(text)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n")
    if card is not None:
        before, _, rest = card.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        card.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def selected(flags: list[bool]) -> Tensor:
    """Indices of the true flags, int64."""
    return torch.tensor([i for i, flag in enumerate(flags) if flag])
