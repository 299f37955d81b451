"""The vectors of a database by modality: what they are made from, how many items have them, and their weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lance

from fuseid.core.modalities import modalities
from fuseid.pipelines.store.tables import vector_sizes


def vectors_of(contents: lance.LanceDataset, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """name, made_from, numbers, items, and weight: in the fusion, None if it does not know the vectors.

    weights: of the fusion in force.
    """
    sizes = vector_sizes(contents.schema)
    return [
        {
            "name": modality.name, "made_from": modality.made_from, "numbers": sizes[modality.name],
            "items": contents.count_rows(f"{modality.name} IS NOT NULL"), "weight": weights.get(modality.name),
        }
        for modality in modalities(sizes)
    ]  # fmt: skip
