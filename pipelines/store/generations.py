"""Generations: a fusion and the column of the vectors that it makes. A refit of the fusion begins the next generation
beside the one in force; at most two exist.

The settings say which generations there are and which one is in force, so that one commit switches. `contents` follows:
`fused` holds the vectors of the generation in force, `fused_other` those of the other one, and the metadata of either
column names its fusion (docs/decisions/0016-generations.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fuseid.core import schemas
from fuseid.core.errors import BadInput, NotReady
from fuseid.core.faults import reached
from fuseid.core.modalities import FUSED, FUSED_COLUMNS, FUSED_OTHER
from fuseid.core.schemas import FUSION_KEY
from fuseid.core.surface import command
from fuseid.pipelines.store.store import Store

# The setting {number: {"fusion": id, "tokenizer": id}}, which a database has once a second generation was begun; and
# the number of the last one that was begun.
GENERATIONS, LAST = "generations", "generations_last"


@dataclass(frozen=True)
class Generation:
    """tokenizer: whose IDs new items get while the generation is not in force; None while its first fit is not done."""

    number: int
    fusion: str
    tokenizer: str | None
    in_force: bool


def generations(settings: Mapping[str, Any]) -> list[Generation]:
    """The one in force, then the other one, if there is one; none before the first fusion. settings: of the store."""
    fusion = settings.get("fusion")
    if fusion is None:
        return []
    known = settings.get(GENERATIONS) or {"1": {"fusion": fusion, "tokenizer": settings.get("champion")}}
    found = [Generation(int(n), one["fusion"], one["tokenizer"], one["fusion"] == fusion) for n, one in known.items()]
    return sorted(found, key=lambda each: not each.in_force)


def other_generation(settings: Mapping[str, Any]) -> Generation | None:
    """The one that is not in force."""
    return next((each for each in generations(settings) if not each.in_force), None)


def generation_numbered(uri: str, settings: Mapping[str, Any], number: int) -> Generation:
    """Raises BadInput, which names those that there are."""
    there = generations(settings)
    found = next((each for each in there if each.number == number), None)
    if found is None:
        have = " and ".join(f"{each.number}{' (in force)' if each.in_force else ''}" for each in there) or "none"
        raise BadInput(f"{uri} has no generation {number} of fused vectors; it has {have}")
    return found


def check_room(uri: str, settings: Mapping[str, Any]) -> None:
    """Raises NotReady if there are two generations."""
    other = other_generation(settings)
    if other is not None:
        first = generations(settings)[0]
        raise NotReady(
            f"{uri} has two generations of fused vectors, {first.number} in force and {other.number}; "
            f"{command('drop', uri, generation=other.number)} frees the second"
        )


def begin_next(store: Store, fusion_id: str, settings: Mapping[str, Any], also: Mapping[str, Any]) -> int:
    """Begins the next generation beside the only one; returns its number. also: other settings of the same commit."""
    there = generations(settings)
    if FUSED in (contents := store.dataset("contents").schema).names and fusions_of(contents)[FUSED] is None:
        # First: once there are two, no column may be without the name of its fusion.
        with store.writing("contents") as dataset:
            dataset.update_field_metadata({FUSED: {FUSION_KEY: there[0].fusion}})
        reached("generation.named")
    number = 1 + (settings.get(LAST) or there[0].number)
    value = _document([*there, Generation(number, fusion_id, None, False)])
    store.put_settings({GENERATIONS: value, LAST: number, **also}, settings)
    reached("generation.begun")
    settle(store)
    return number


def with_tokenizer(settings: Mapping[str, Any], fusion_id: str, tokenizer_id: str) -> dict[str, Any]:
    """The settings after a fit or a promotion: a generation's tokenizer. Nothing if there is one generation, as far as
    is known."""
    if settings.get(GENERATIONS) is None:
        return {}
    known = settings[GENERATIONS]
    return {
        GENERATIONS: {
            number: one | ({"tokenizer": tokenizer_id} if one["fusion"] == fusion_id else {})
            for number, one in known.items()
        }
    }


def drop_generation(store: Store, number: int) -> bool:
    """Forgets a generation and frees its column; False if that was done before. The artifacts and the IDs in the ledger
    stay, since no ID may be given again.

    Raises BadInput for a generation that never was, NotReady for the one in force.
    """
    settings = store.settings()
    there = generations(settings)
    known = {each.number: each for each in there}
    if number not in known and 1 <= number <= (settings.get(LAST) or 0):
        settle(store)
        return False
    if generation_numbered(store.uri, settings, number).in_force:
        other = other_generation(settings)
        remedy = "it is the only one"
        if other is not None:
            switch = command("promote", store.uri, other.tokenizer or "TOKENIZER")
            remedy = f"{switch} puts {other.number} in force"
        raise NotReady(f"generation {number} of {store.uri} is in force and cannot be dropped; {remedy}")
    store.put_settings({GENERATIONS: _document([each for each in there if each.number != number])}, settings)
    reached("generation.dropped")
    settle(store)
    return True


def settle(store: Store) -> None:
    """Brings the columns of `contents` in line with the settings; a run that was killed may have left them behind. Most
    often there is nothing to do."""
    settings = store.settings()
    if settings.get(GENERATIONS) is None or not store.has_contents():
        return
    in_force, other = generations(settings)[0], other_generation(settings)
    if other is not None and store.schema_version() != str(schemas.TWO_GENERATIONS):
        # First, so that no earlier fuseid meets a column that it does not know.
        store.set_schema_version(str(schemas.TWO_GENERATIONS))
        reached("generation.version")
    if fusions_of(store.dataset("contents").schema).get(FUSED_OTHER) == in_force.fusion:
        _swap(store)
        reached("generation.switched")
    columns = fusions_of(store.dataset("contents").schema)
    if FUSED_OTHER in columns and (other is None or columns[FUSED_OTHER] != other.fusion):
        with store.writing("contents") as dataset:
            dataset.drop_columns([FUSED_OTHER, fingerprint(FUSED_OTHER)])
        reached("generation.freed")
        columns.pop(FUSED_OTHER)
    if other is not None and FUSED_OTHER not in columns:
        _add(store, other.fusion)
        reached("generation.column")
    if other is None and store.schema_version() == str(schemas.TWO_GENERATIONS):
        store.set_schema_version(str(schemas.SCHEMA_VERSION))


def fingerprint(column: str) -> str:
    """The column of the fingerprints of a column of fused vectors."""
    return f"{column}_fp"


def fusions_of(contents: pa.Schema) -> dict[str, str | None]:
    """The columns of fused vectors, and the fusion that the metadata of each names."""
    there = [name for name in FUSED_COLUMNS if name in contents.names]
    named = {name: (contents.field(name).metadata or {}).get(FUSION_KEY.encode()) for name in there}
    return {name: None if fusion is None else fusion.decode() for name, fusion in named.items()}


def fused_column(contents: pa.Schema, fusion_id: str | None) -> str | None:
    """The column of a version of `contents` that has the vectors of a fusion; None if it has none, or before the first
    fit."""
    columns = fusions_of(contents)
    if fusion_id is None or not columns:
        return None
    found = next((name for name, fusion in columns.items() if fusion == fusion_id), None)
    return found or (FUSED if columns.get(FUSED, "") is None else None)


def _document(every: list[Generation]) -> dict[str, Any]:
    return {str(each.number): {"fusion": each.fusion, "tokenizer": each.tokenizer} for each in every}


def _add(store: Store, other: str) -> None:
    dim = store.describe_fusion(other).meta["dim"]
    fields = [
        pa.field(FUSED_OTHER, pa.list_(pa.float32(), dim), metadata={FUSION_KEY: other}),
        pa.field(fingerprint(FUSED_OTHER), pa.string()),
    ]
    with store.writing("contents") as dataset:
        dataset.add_columns(pa.schema(fields))


def _swap(store: Store) -> None:
    """Exchanges the names of the two columns, in one commit; their indexes go with them."""
    pairs = [(FUSED, FUSED_OTHER), (fingerprint(FUSED), fingerprint(FUSED_OTHER))]
    renamed: list[Any] = [{"path": old, "name": new} for pair in pairs for old, new in (pair, pair[::-1])]
    with store.writing("contents") as dataset:
        dataset.alter_columns(*renamed)
