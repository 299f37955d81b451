"""The neighbour table of a whole catalogue: for each item the most similar ones, with the recall that it has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, NotReady
from fuseid.core.installed import versions
from fuseid.core.memory import trim
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import new_folder, write_manifest
from fuseid.pipelines.exports.ranges import Ranges, borders
from fuseid.pipelines.jobs.progress import Lines, Progress
from fuseid.pipelines.neighbourhood.partitions import (
    Closeness,
    Partitions,
    fitted_centres,
    partition_count,
    sample_rows,
)
from fuseid.pipelines.neighbourhood.recall import CANARIES, Recall, canaries, found_within, measured, probes_for
from fuseid.pipelines.neighbourhood.row_files import RowFiles
from fuseid.pipelines.neighbourhood.runners import LocalNeighbourRunner, NeighbourRunner
from fuseid.pipelines.neighbourhood.search import Exact, Neighbours, best_of
from fuseid.pipelines.neighbourhood.table import KeyFile, TextFile, write_shards
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.pins import pinned
from fuseid.pipelines.store.rows import sampled_rows
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import commit_id
from fuseid.pipelines.store.vector_columns import nan_rows

_MOST_K = 1000
# What Lance reads ahead: less than elsewhere, since the sort beside it needs memory, too.
_READ_AHEAD_BYTES = 64 << 20
_LIBRARIES = ("fuseid", "pyarrow", "torch", "numpy")
_RANGE_BYTES = 64 << 20
# Of the vectors that are put into partitions at a time.
_ADDED_BYTES = 32 << 20
# Rows whose neighbours one piece of work finds.
_GROUP_ROWS = 8192


def neighbours(
    uri: str,
    out: str | Path,
    k: int = 50,
    *,
    space: str | None = None,
    recall: float = 0.95,
    runner: NeighbourRunner | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Writes the k most similar items of each item, by cosine and without itself, into a new folder `out`, and at the
    end `manifest.json`, which it returns.

    space: the column of vectors, by default the one of `Catalog.search(like=)`. Items without a vector in it, or with
    one that is zero, have no row and are nobody's neighbours. recall: the share of the true neighbours that the table
    has at least. Rows are ordered by content_id, neighbours by score, equal scores by content_id. The same version,
    options and kind of processor give the same bytes, with every runner.

    Method: partitions by k-means; each item is compared with the items of the partitions nearest to it (an inverted
    file, Jegou et al. 2011, sec. IV), whose number random items, compared with all others, decide.

    A failure leaves no incomplete folder. Memory: below 1 GB, and some ten bytes for each item. Disk, in `out`: the
    vectors three times, until it ends. Raises BadInput for an unknown space, NotReady if there is no vector.
    """
    if not 1 <= k <= _MOST_K:
        raise BadInput(f"{option('k')} is 1 to {_MOST_K}, got {k}")
    if not 0 < recall < 1:
        raise BadInput(f"{option('recall')} is a number between 0 and 1, such as 0.95, got {recall}")
    store = Store.open(uri)
    view = View(store, store.dataset("contents"))
    if not view.count:
        raise store.empty()
    if space is not None:
        check_known("space", space, view.item_spaces)
    if not view.item_spaces:
        raise NotReady(f"no item in {uri} has a vector to compare with others")
    column = space or view.item_spaces[0]
    runner, progress = runner or LocalNeighbourRunner(), progress or Lines()
    with pinned({"contents": view.contents}), new_folder(out) as folder:
        scratch = folder / ".rows"
        scratch.mkdir()
        table = _Table(view, column, k, scratch, progress)
        try:
            table.read()
            facts = table.search(runner, recall)
            progress.begin("write", table.rows)
            for rows in write_shards(folder, table.ids, table.sids, table.keys, table.width):
                progress.advance("write", rows)
        finally:
            table.close()
        shutil.rmtree(scratch)
        return write_manifest(folder, {**table.facts(), **facts, "target_recall": recall})


class _Table:
    """The files of a table while it is made."""

    def __init__(self, view: View, column: str, k: int, scratch: Path, progress: Progress) -> None:
        self._view = view
        self._column = column
        self._k = k
        self._scratch = scratch
        self._progress = progress
        self._dim = view.dims[column]
        self._files = RowFiles(self._dim, scratch)
        self._partition_of = scratch / "partitions"
        self._zero = 0
        self.rows = 0

    def close(self) -> None:
        self._files.close()
        if hasattr(self, "keys"):
            self.keys.close()

    @property
    def width(self) -> int:
        """How many neighbours are kept for each row."""
        return max(1, min(self._k, self.rows - 1))

    def read(self) -> None:
        """Puts all rows into partitions, numbered in the order of content_id. Raises NotReady without a vector."""
        contents, where = self._view.contents, f"{self._column} IS NOT NULL"
        count = contents.count_rows(where)
        sample = _units(
            sampled_rows(contents, sample_rows(count, self._dim), [self._column], where), self._column, self._dim
        )[1]
        if not len(sample):
            raise NotReady(f"no item in {self._view.store.uri} has a vector in {self._column} that is not zero")
        centres = fitted_centres(sample, partition_count(count))
        del sample
        trim()
        closeness = Closeness(centres)
        ids, sids = TextFile(self._scratch, "ids"), TextFile(self._scratch, "sids")
        self._progress.begin("read", count)
        with self._partition_of.open("wb") as partition_of:
            for rows in self._in_order(where, count):
                kept, vectors = _units(rows, self._column, self._dim)
                self._zero += len(rows) - len(kept)
                numbers = closeness.nearest(vectors)
                self._files.add(vectors, numbers, len(centres))
                partition_of.write(numbers.astype(np.uint16).data)
                ids.add(kept["content_id"].combine_chunks())
                sids.add(kept["sid"].combine_chunks())
                self.rows += len(kept)
                self._progress.advance("read", len(rows))
        self._files.finish(np.arange(len(centres)))
        self.ids, self.sids = ids.finish(), sids.finish()
        self._partitions = Partitions(centres, self._files.parts, self.width)
        trim()

    def search(self, runner: NeighbourRunner, target: float) -> dict[str, Any]:
        """Finds the neighbours of all rows -> facts about how."""
        read, parts, rows = self._files.read, self._files.parts, self.rows
        groups = parts.groups(_GROUP_ROWS)
        chosen = canaries(self._files)
        self._progress.begin("exact", rows)
        scans = runner.run(Exact(chosen, self.width), groups, read)
        exact = best_of(self._tracked(scans, "exact", groups), self.width)
        half = len(chosen.places_N) // 2 if rows > CANARIES else len(chosen.places_N)
        partition_of = np.memmap(self._partition_of, np.uint16, "r")
        shares = found_within(chosen, exact, partition_of, self._partitions)
        probes = probes_for(shares[:half], shares[half:] if half < len(shares) else shares, target)
        self.keys = KeyFile(self._scratch, self.width)
        self._progress.begin("search", rows)
        for found in self._tracked(runner.run(Neighbours(self._partitions, probes), groups, read), "search", groups):
            self.keys.put(found)
        first = half if rows > CANARIES else 0
        kept = [self.keys.read(place, 1) for place in chosen.places_N[first:].tolist()]
        shares = measured(np.concatenate(kept), exact[first:])
        return {
            "recall": Recall.of(shares, is_all=rows <= CANARIES).facts(),
            "partitions": len(self._partitions.centres_PD),
            "probes": probes,
        }

    def facts(self) -> dict[str, Any]:
        contents = self._view.contents
        return {
            "format": "neighbours",
            "versions": {"contents": contents.version},
            "commits": {"contents": commit_id(contents)},
            "space": self._column,
            "dim": self._dim,
            "k": self._k,
            "items": self.rows,
            "items_without_vector": self._view.count - self.rows,
            "written_by": versions(*_LIBRARIES),
        }

    def _in_order(self, where: str, count: int) -> Iterator[pa.Table]:
        """All rows that have a vector, by content_id, in tables of `_ADDED_BYTES`."""
        contents, columns = self._view.contents, ["content_id", "sid", self._column]
        scanner = contents.scanner(columns=columns, filter=where, io_buffer_size=_READ_AHEAD_BYTES)
        folder = self._scratch / "ranges"
        folder.mkdir()
        find = partial(borders, contents, where, count)
        ranges = Ranges.of_bytes(scanner.to_reader(), find, _RANGE_BYTES, folder, "rows")
        step = max(1, _ADDED_BYTES // (4 * self._dim))
        for number in range(ranges.count):
            rows = ranges.read(number)
            order = pc.sort_indices(rows["content_id"])
            for start in range(0, len(rows), step):
                yield rows.take(order[start : start + step])
        shutil.rmtree(folder)

    def _tracked(self, found: Iterator[Any], stage: str, groups: list[range]) -> Iterator[Any]:
        starts = self._files.parts.starts_R
        for group, one in zip(groups, found, strict=True):
            yield one
            self._progress.advance(stage, int(starts[group.stop] - starts[group.start]))


def _units(rows: pa.Table, column: str, dim: int) -> tuple[pa.Table, np.ndarray]:
    """The rows that have a finite vector which is not zero, and these vectors, float32 [N, dim], of length one."""
    vectors = nan_rows(rows[column], dim)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    good = np.isfinite(lengths) & (lengths > 0)
    unit = (vectors[good] / lengths[good, None]).astype(np.float32)
    return rows.filter(pa.array(good)), unit
