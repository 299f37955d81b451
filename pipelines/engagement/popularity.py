"""Head, middle and tail of items that are ordered by how much they are used."""

from __future__ import annotations

import numpy as np

# Shares of the items, from the one that is used the most on.
PARTS = (("head", 0.0, 0.2), ("middle", 0.2, 0.5), ("tail", 0.5, 1.0))


def parts_of(order: np.ndarray) -> dict[str, np.ndarray]:
    """[N], items by use, the most used first -> the items of each part."""
    return {name: order[round(low * len(order)) : round(high * len(order))] for name, low, high in PARTS}
