"""Chat format: one line of JSON per example; the history is the user's message, the target the assistant's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.texts import json_text, kept_rows, of_histories, of_items, sid_texts, times_of

NAME = "jsonl"
TRAIN = "prefix"
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("messages", "target", "target_timestamp")


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`train-00000.jsonl`, `valid-...` and `test-...`. IDs are the vocabulary's tokens, `<a_12><b_240><c_7><d_0>`, the
    last the collision digit; the IDs of a history are separated by spaces."""
    for split, group in groupby(chunks, key=lambda examples: examples.split):
        with (folder / f"{split}-{shard:05d}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
            for examples in group:
                file.writelines(_lines(examples, items))


def finish(folder: Path, items: Items) -> None:
    """Nothing to do."""


def _lines(examples: Examples, items: Items) -> Iterator[str]:
    pasts, targets = of_items(examples, lambda numbers: sid_texts(items.codes_NM[numbers], bare=False).to_pylist())
    rows = zip(
        examples.user_ids.to_pylist(),
        of_histories(pasts, examples.offsets_E),
        targets,
        items.content_ids.take(examples.target_E).to_pylist(),
        times_of(examples.target_time_E),
        kept_rows(examples),
        strict=True,
    )
    for user, past, target, name, when, kept in rows:
        messages = [{"role": "user", "content": " ".join(past)}, {"role": "assistant", "content": target}]
        facts = {"messages": messages, "user_id": user, "target": name, "target_timestamp": when, **kept}
        yield json_text(facts) + "\n"
