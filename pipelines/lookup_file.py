"""The queries of a file, one on each line, and their results as one Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fuseid.core.errors import BadInput, unusable
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import new_file
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.search.bulk import Query
from fuseid.pipelines.search.filter_text import typed
from fuseid.pipelines.store.durable import fsync

# A vector of 4,096 numbers has some 90,000.
_MOST_BYTES = 4 << 20
# Rows of results in memory, and in a row group of the file.
_ROWS = 1 << 14
_FILES = ("image", "video")
# What a filter is made of in a line: the options of `fuseid lookup`.
_LISTS = ("kind", "tag", "attr", "has")
_FILTERS = (*_LISTS, "since", "until")


def lookup_file(
    catalog: Catalog,
    queries: str | Path,
    out: str | Path,
    common: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Answers the queries of a JSONL file, whose lines are objects with keywords of `Catalog.search`, all at one
    version, and writes a new Parquet file `out` -> `version`, and the counts of `queries`, `results` and `errors`.

    out: rows as `search.bulk.Answer.rows` has them, `query` is the number of the line, from 1 on, in the order of the
    lines; empty lines are no queries. image and video are relative to the folder of `queries`; kind, tag, attr, since,
    until and has are filters, as typed in a shell, one text or a list. common: keywords of all
    lines that do not have their own. A line that cannot be read or used, or finds nothing, is a row with an `error`.
    Memory does not grow with the number of lines. A failure leaves no file, and what a killed process leaves is
    removed by the next one with the same `out`. Raises BadInput for files that cannot be
    read or written, StoreError for an empty database.
    """
    queries, out, progress = Path(queries), Path(out), progress or Lines()
    if out.suffix != ".parquet":
        raise BadInput(f"{option('out')} names a new .parquet file, got {out}")
    total = _count(queries)
    answers = catalog.numbered(_numbered(queries), common or {})
    schema = answers.schema.with_metadata({"fuseid.version": str(answers.version)})
    counts = {"queries": 0, "results": 0, "errors": 0}
    progress.begin("look up", total)
    with new_file(out) as scratch:
        with pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
            held: list[pa.Table] = []
            waiting = 0
            for answer in answers:
                held.append(answer.rows().cast(schema))
                waiting += len(held[-1])
                counts["queries"] += 1
                counts["results"] += len(answer.found)
                counts["errors"] += answer.error is not None
                if waiting >= _ROWS:
                    writer.write_table(pa.concat_tables(held))
                    held, waiting = [], 0
                progress.advance("look up", 1)
            if held:
                writer.write_table(pa.concat_tables(held))
        fsync([scratch])
    fsync([out.resolve().parent])
    return {"version": answers.version, **counts}


def _numbered(path: Path) -> Iterator[tuple[int, Query]]:
    """The lines of a file with their numbers."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MOST_BYTES + 1):
            number += 1
            if len(line) > _MOST_BYTES:
                while line and not line.endswith(b"\n"):
                    line = file.readline(_MOST_BYTES)
                yield number, BadInput(f"the line is longer than {_MOST_BYTES:,} bytes")
            elif line.strip():
                yield number, _query(line, path.parent)


def _query(line: bytes, folder: Path) -> Query:
    try:
        found = json.loads(line, object_pairs_hook=_object)
    except BadInput as error:
        return error
    except (ValueError, RecursionError) as error:
        return BadInput(f"the line is no JSON: {error}")
    if not isinstance(found, dict):
        return BadInput(f'the line is no object of keywords such as {{"text": "a red apple"}}, got {str(found)[:80]!r}')
    for name in _FILES:
        value = found.get(name)
        if isinstance(value, str):
            found[name] = str(folder / value)
        elif isinstance(value, list):
            found[name] = [str(folder / each) if isinstance(each, str) else each for each in value]
    try:
        return _with_filter(found)
    except BadInput as error:
        return error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises BadInput for a key that occurs twice, of which JSON would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadInput(f"the line has the key {twice!r} twice; several values are a list")
    return found


def _with_filter(found: dict[str, Any]) -> dict[str, Any]:
    """With a `filter` in place of what it is made of. Raises BadInput."""
    parts = {name: found.pop(name) for name in _FILTERS if name in found}
    if not parts:
        return found
    for name, value in parts.items():
        several = value if isinstance(value, list) and name not in ("since", "until") else [value]
        if not all(isinstance(each, str) for each in several):
            raise BadInput(f"{name} is text, or a list of texts, got {str(value)[:80]!r}")
    kinds, tags, attributes, has = ([each] if isinstance(each := parts.get(name, []), str) else each for name in _LISTS)
    chosen = typed(kinds, tags, attributes, parts.get("since"), parts.get("until"), has)
    return found if chosen is None else {**found, "filter": chosen}


def _count(path: Path) -> int:
    """How many lines are not empty. Raises BadInput if the file cannot be read."""
    try:
        with path.open("rb") as file:
            count, blank = 0, True
            while piece := file.readline(_MOST_BYTES):
                blank = blank and not piece.strip()
                if piece.endswith(b"\n"):
                    count, blank = count + (not blank), True
            return count + (not blank)
    except OSError as error:
        raise unusable(f"cannot read the queries {path}: {error.strerror or error}", error) from None
