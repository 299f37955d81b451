"""Tar shards of WebDataset: one JSON file per example, for loaders that stream."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.texts import json_text, kept_rows, of_histories, of_items, times_of

NAME = "webdataset"
TRAIN = "prefix"
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("items", "codes", "timestamps", "target", "target_codes", "target_timestamp")


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`train-00000.tar`, `valid-...` and `test-...` with members `00000-000000000.json`: shard and position in it.
    Their headers contain no times, users or hosts."""
    for split, group in groupby(chunks, key=lambda examples: examples.split):
        path = folder / f"{split}-{shard:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            number = 0
            for examples in group:
                for facts in _facts(examples, items):
                    data = json_text(facts).encode()
                    member = tarfile.TarInfo(f"{shard:05d}-{number:09d}.json")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                    number += 1
                # tarfile keeps a list of all members written, which would grow.
                tar.members = []  # type: ignore[attr-defined]


def finish(folder: Path, items: Items) -> None:
    """Nothing to do."""


def _facts(examples: Examples, items: Items) -> Iterator[dict[str, Any]]:
    names, target_names = of_items(examples, lambda numbers: items.content_ids.take(numbers).to_pylist())
    codes, target_codes = of_items(examples, lambda numbers: items.codes_NM[numbers].tolist())
    rows = zip(
        examples.user_ids.to_pylist(),
        of_histories(names, examples.offsets_E),
        of_histories(codes, examples.offsets_E),
        of_histories(times_of(examples.time_H), examples.offsets_E),
        target_names,
        target_codes,
        times_of(examples.target_time_E),
        kept_rows(examples),
        strict=True,
    )
    names_of_facts = ("user_id", *RESERVED)
    for *facts, kept in rows:
        yield {**dict(zip(names_of_facts, facts, strict=True)), **kept}
