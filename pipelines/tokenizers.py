"""Tokenizers: those of a database, what they are, how good they are, and which one is in force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from fuseid.core.artifacts import ArtifactInfo, is_tokenizer, kind_of
from fuseid.core.errors import ArtifactError
from fuseid.pipelines.assignment.champion import CHAMPIONS
from fuseid.pipelines.assignment.ledger import pinned_policy
from fuseid.pipelines.store.generations import generations
from fuseid.pipelines.store.store import Store, filesystem


@dataclass(frozen=True)
class TokenizerInfo:
    """role: `champion`, whose IDs `contents` shows; `former champion`; or `candidate`. since: from when on it has the
    role, of a candidate the start of the run that gave its first IDs; None where that is not recorded.

    items: with an ID in the ledger. collisions: those of them that a suffix tells apart from others with the same
    codes, None where such items share an ID. moved: those that were given other codes than their nearest ones.
    fusion: whose vectors it quantizes; generation: that fusion's number, None if its vectors are not there any more.
    r2: the share of the variance of the fit's sample that is explained, by level.
    held_out_r2: that of items that it was not fitted on, by all levels; held_out_entropy: bits of their codes, by
    level; None where too few were left for that, and for adopted IDs. problem: why its artifact cannot be read.
    """

    id: str
    kind: str
    role: str
    since: datetime | None
    codebook_sizes: tuple[int, ...]
    items: int
    collisions: int | None
    moved: int
    fusion: str | None
    generation: int | None
    r2: tuple[float, ...] | None
    held_out_r2: float | None
    held_out_entropy: tuple[float, ...] | None
    problem: str | None


@dataclass
class _Given:
    """What the ledger has of a tokenizer. first: the id of the run that gave the first IDs, which begins with the
    time."""

    items: int = 0
    suffixes: int = 0
    moved: int = 0
    first: str | None = None


def tokenizers(uri: str | Path) -> list[TokenizerInfo]:
    """The tokenizers that were fitted or adopted, the champion first, then the latest. Reads three columns of the whole
    ledger. Raises StoreError if there is no database."""
    store = Store.open(uri)
    settings, given = store.settings(), _given(store)
    fs, root = filesystem(store.uri)
    folder = f"{root}/artifacts"
    there = {path.rstrip("/").rpartition("/")[2] for path in fs.ls(folder, detail=False)} if fs.isdir(folder) else set()
    names = {name for name in there if is_tokenizer(name)} | given.keys()
    found = [_info(store, name, given.get(name, _Given()), settings) for name in sorted(names)]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda each: (each.role == "champion", each.since or oldest), reverse=True)


def _given(store: Store) -> dict[str, _Given]:
    found: dict[str, _Given] = {}
    for batch in store.dataset("assignments").to_batches(columns=["tokenizer_id", "suffix", "moved_error", "run_id"]):
        counts = pa.Table.from_batches([batch]).group_by("tokenizer_id").aggregate(
            [("tokenizer_id", "count"), ("suffix", "count"), ("moved_error", "count"), ("run_id", "min")]
        )  # fmt: skip
        for row in counts.to_pylist():
            one = found.setdefault(row["tokenizer_id"], _Given())
            one.items += row["tokenizer_id_count"]
            one.suffixes += row["suffix_count"]
            one.moved += row["moved_error_count"]
            one.first = min(filter(None, (one.first, row["run_id_min"])), default=None)
    return found


def _info(store: Store, name: str, given: _Given, settings: dict[str, Any]) -> TokenizerInfo:
    problem, artifact = None, ArtifactInfo(name, {})
    try:
        artifact = store.describe_tokenizer(name)
    except ArtifactError as error:
        problem = str(error)
    meta, metrics = artifact.meta, artifact.meta.get("metrics", {})
    role, since = _role(name, given, settings)
    numbers = {each.fusion: each.number for each in generations(settings)}
    r2, held_out = metrics.get("r2_per_level"), metrics.get("held_out")
    return TokenizerInfo(
        id=name, kind=kind_of(name), role=role, since=since, codebook_sizes=tuple(meta.get("codebook_sizes", ())),
        items=given.items,
        collisions=None if pinned_policy(store, name).collisions == "none" else given.suffixes,
        moved=given.moved, fusion=meta.get("fusion"), generation=numbers.get(str(meta.get("fusion"))),
        r2=None if r2 is None else tuple(r2),
        held_out_r2=metrics.get("held_out_r2"),
        held_out_entropy=None if held_out is None else tuple(map(_entropy, held_out["histogram"])), problem=problem,
    )  # fmt: skip


def _role(name: str, given: _Given, settings: dict[str, Any]) -> tuple[str, datetime | None]:
    history = settings.get(CHAMPIONS) or []
    first = None if given.first is None else _started(given.first)
    champion, before = settings.get("champion"), settings.get("champion_before")
    times = [datetime.fromisoformat(time) for one, time, *_ in history if one == name]
    if name == champion:
        # The first champion is that since its fit; of later ones, earlier versions recorded no time.
        return "champion", times[-1] if times else first if before is None else None
    ended = [history[i + 1][1] for i, (one, *_) in enumerate(history[:-1]) if one == name]
    if ended or name == before:
        if not ended and history and history[0][0] == champion and name == before:
            ended = [history[0][1]]
        return "former champion", datetime.fromisoformat(ended[-1]) if ended else None
    return "candidate", first


def _started(run_id: str) -> datetime | None:
    try:
        return datetime.strptime(run_id.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _entropy(counts: Sequence[int]) -> float:
    """Bits."""
    total = sum(counts)
    return -sum(count / total * math.log2(count / total) for count in counts if count) if total else 0.0
