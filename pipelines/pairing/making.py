"""From events on disk to the pairs that are kept: every step works on parts of bounded size, which a runner may give to
other processes. Parts depend on the events alone, and their results are used in order: so do the pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from fuseid.core.memory import trim
from fuseid.pipelines.engagement.pairs_file import Piece
from fuseid.pipelines.jobs.progress import Progress
from fuseid.pipelines.pairing.coverage import Coverage
from fuseid.pipelines.pairing.events import EventFiles
from fuseid.pipelines.pairing.histories import Found
from fuseid.pipelines.pairing.keys import PARTIAL, items_of, keys_of
from fuseid.pipelines.pairing.options import COOCCURRENCE, SWING, Options
from fuseid.pipelines.pairing.reduction import OWNED, Choose, Reduce, Totals, owned
from fuseid.pipelines.pairing.runners import PairRunner
from fuseid.pipelines.pairing.swing import KEPT, USES, Graph, KeepUsers, Swing, Uses, blocks
from fuseid.pipelines.pairing.window import CountPairs
from fuseid.pipelines.streams.spill import Spill

T = TypeVar("T")
R = TypeVar("R")
_CHOSEN = pa.schema([("key", pa.uint64()), ("weight", pa.float32())])
# Rows of a part; each part is an open file while it is written.
_PART_ROWS = 1 << 20
_MOST_PARTS = 256
# Rows of pairs that swing makes of a use, by which its parts are planned.
_SWING_ROWS = 20


@dataclass
class Counts:
    """What was used. users_I, events_I: of each item, how many users used it, in how many events."""

    users_I: np.ndarray
    events_I: np.ndarray
    users: int = 0
    events: int = 0
    left_out: int = 0
    duplicates: int = 0

    def add(self, found: Found) -> None:
        self.users_I[found.item_D] += found.users_D
        self.events_I[found.item_D] += found.events_D
        self.users += found.users
        self.events += found.events
        self.left_out += found.left_out
        self.duplicates += found.duplicates


class Making:
    """Makes pairs of `events` with `items` items; `rank`: see `Used.of`. scratch: an empty folder."""

    def __init__(
        self,
        events: EventFiles,
        items: int,
        rank: np.ndarray,
        options: Options,
        scratch: Path,
        runner: PairRunner,
        progress: Progress,
        part_rows: int = _PART_ROWS,
    ) -> None:
        self._events = events
        self._rank = rank
        self._options = options
        self._scratch = scratch
        self._runner = runner
        self._progress = progress
        self._part_rows = part_rows
        self._items = items
        self.counts = Counts(np.zeros(items, np.int64), np.zeros(items, np.int64))
        self.coverage = Coverage(self.counts.events_I)
        self.pairs = 0

    def pieces(self) -> Iterator[Piece]:
        """The pairs in order, as `write_pairs` takes them; meanwhile `counts` and `coverage` are filled."""
        partial, parts = self._swing() if self._options.method == SWING else self._window()
        best, self.coverage = self._chosen(partial, parts)
        self._progress.begin("write", parts.count)
        for number in range(parts.count):
            rows = best.read(number)
            # A pair that both of its items keep comes twice.
            keys, places = np.unique(rows["key"].to_numpy(), return_index=True)
            first, second = items_of(keys)
            self.coverage.count(first, second)
            self.pairs += len(keys)
            yield first, second, rows["weight"].to_numpy()[places]
            self._progress.advance("write", 1)

    def _window(self) -> tuple[Spill, Parts]:
        """The partial sums of close pairs, by the range of the lower item."""
        rows = self._events.kept * (self._options.window or 1)
        parts = Parts.of(self._load(), rows, self._part_rows)
        partial = Spill(self._scratch, "partial", parts.count, PARTIAL)
        for found in self._run(
            "pairs", CountPairs(self._options, self._rank), self._events.read(), self._events.shards
        ):
            self.counts.add(found)
            partial.write(found.rows, parts.of_keys(found.rows["key"].to_numpy()))
        partial.close()
        return partial, parts

    def _swing(self) -> tuple[Spill, Parts]:
        graph = self._graph()
        parts = Parts.of(self.counts.users_I, len(graph.item_K) * _SWING_ROWS, self._part_rows)
        partial = Spill(self._scratch, "partial", parts.count, PARTIAL)
        assert self._options.alpha is not None
        work = list(blocks(graph))
        for rows in self._run("swing", Swing(graph, self._options.alpha), work, len(work)):
            partial.write(rows, parts.of_keys(rows["key"].to_numpy()))
        partial.close()
        trim()
        return partial, parts

    def _graph(self) -> Graph:
        """Who uses what, in files that are memory-mapped: see `Graph`."""
        parts = Parts.of(self._load(), self._events.kept, self._part_rows)
        uses = Spill(self._scratch, "uses", parts.count, USES)
        users, sizes = 0, []
        for found in self._run("users", Uses(self._options, self._rank), self._events.read(), self._events.shards):
            self.counts.add(found)
            numbers = pa.array(found.rows["user"].to_numpy() + np.int32(users))
            uses.write(found.rows.set_column(0, "user", numbers), parts.of_items(found.rows["item"].to_numpy()))
            users += len(found.sizes_U)
            sizes.append(found.sizes_U)
        uses.close()
        # Users are numbered by shard: their ranges are of equal length, since shards come from a hash.
        ranges = Parts(np.linspace(0, users, len(parts.starts), dtype=np.int64))
        kept = Spill(self._scratch, "kept", ranges.count, KEPT)
        ends = np.zeros(self._items + 1, np.int64)
        tables = (uses.read(number) for number in range(parts.count))
        with (self._scratch / "users").open("wb") as file:
            done = 0
            for rows in self._run("items", KeepUsers(self._options.most_users or 1), tables, parts.count):
                user, item = rows["user"].to_numpy(), rows["item"].to_numpy()
                file.write(user.data)
                ends[1:] += np.bincount(item, minlength=self._items)
                places = np.arange(done, done + len(rows), dtype=np.int64)
                kept.write(pa.Table.from_arrays([user, item, places], schema=KEPT), ranges.of_items(user))
                done += len(rows)
        kept.close()
        uses.delete()
        user_counts = np.zeros(users + 1, np.int64)
        with (self._scratch / "items").open("wb") as items, (self._scratch / "places").open("wb") as at:
            for number in range(ranges.count):
                rows = kept.read(number)
                user, item, place = (rows[name].to_numpy() for name in KEPT.names)
                order = np.lexsort((item, user))
                items.write(item[order].data)
                at.write(place[order].data)
                first, end = ranges.starts[number : number + 2].tolist()
                user_counts[first + 1 : end + 1] = np.bincount(user - np.int32(first), minlength=end - first)
        kept.delete()
        return Graph(
            self._mapped("users", np.int32), np.cumsum(ends), self._mapped("items", np.int32),
            self._mapped("places", np.int64), np.cumsum(user_counts), np.concatenate([np.zeros(0, np.int32), *sizes]),
        )  # fmt: skip

    def _chosen(self, partial: Spill, parts: Parts) -> tuple[Spill, Coverage]:
        """The pairs that are kept, by the range of the lower item."""
        both = Spill(self._scratch, "both", parts.count, OWNED)
        sums = np.zeros(self._items)
        tables = (partial.read(number) for number in range(parts.count))
        for reduced in self._run("sums", Reduce(), tables, parts.count):
            rows = owned(reduced)
            owner = rows["owner"].to_numpy()
            if self._options.method == COOCCURRENCE:
                sums += np.bincount(owner, rows["sum"].to_numpy(), self._items)
            both.write(rows, parts.of_items(owner))
        both.close()
        partial.delete()
        chosen = Spill(self._scratch, "chosen", parts.count, _CHOSEN)
        coverage = Coverage(self.counts.events_I)
        tables = (both.read(number) for number in range(parts.count))
        for best in self._run("best", Choose(self._options, Totals(self.counts.users_I, sums)), tables, parts.count):
            coverage.note(best)
            keys = keys_of(best["owner"].to_numpy(), best["partner"].to_numpy())
            rows = pa.Table.from_arrays([keys, best["weight"].combine_chunks()], schema=_CHOSEN)
            chosen.write(rows, parts.of_keys(keys))
        chosen.close()
        both.delete()
        trim()
        return chosen, coverage

    def _load(self) -> np.ndarray:
        """Of each item the number of its events, copies and those that are left out among them."""
        load = np.zeros(self._items, np.int64)
        counted = self._events.events_of
        load[self._rank[: len(counted)]] = counted
        return load

    def _mapped(self, name: str, kind: type) -> np.ndarray:
        path = self._scratch / name
        return np.asarray(np.memmap(path, kind, "r")) if path.stat().st_size else np.zeros(0, kind)

    def _run(self, stage: str, work: Callable[[T], R], pieces: Iterable[T], total: int) -> Iterator[R]:
        self._progress.begin(stage, total)
        for found in self._runner.run(work, pieces):
            yield found
            self._progress.advance(stage, 1)


@dataclass(frozen=True)
class Parts:
    """Ranges of numbers, one after the other. starts: int64, where each begins, and the end of the last."""

    starts: np.ndarray

    @classmethod
    def of(cls, load_I: np.ndarray, rows: int, part_rows: int) -> Parts:
        """Ranges of items with about the same load. rows: how many there will be, of which a part has `part_rows`."""
        count = int(np.clip(-(-rows // part_rows), 1, _MOST_PARTS))
        ends = np.cumsum(load_I + 1)
        inner = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
        return cls(np.unique(np.concatenate([[0], inner, [len(load_I)]])).astype(np.int64))

    @property
    def count(self) -> int:
        return len(self.starts) - 1

    def of_items(self, numbers: np.ndarray) -> np.ndarray:
        """uint16 [N]: the range of each number."""
        return (np.searchsorted(self.starts, numbers, side="right") - 1).astype(np.uint16)

    def of_keys(self, keys: np.ndarray) -> np.ndarray:
        """uint16 [N]: the range of the lower item of each pair."""
        return self.of_items(items_of(keys)[0])
