"""Look-up: finds items by text, pictures, videos, vectors, other items, or by ID prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa

from fuseid.core.errors import BadInput, StoreError
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.core.text import storable
from fuseid.pipelines.search.bulk import Answers, Query
from fuseid.pipelines.search.by_vector import by_vector
from fuseid.pipelines.search.calibration import Calibration
from fuseid.pipelines.search.clauses import clauses_of, item_columns, item_vector, items_of, vector_of
from fuseid.pipelines.search.combine import combined
from fuseid.pipelines.search.condition import condition_of, explain_nothing
from fuseid.pipelines.search.cursors import Cursor
from fuseid.pipelines.search.diverse import diversified
from fuseid.pipelines.search.facets import Facet, check_found, facets
from fuseid.pipelines.search.filters import Filter
from fuseid.pipelines.search.id_order import IdOrders
from fuseid.pipelines.search.keywords import check_names, plain, typed_keywords, value_of
from fuseid.pipelines.search.listing import by_content_id
from fuseid.pipelines.search.prefixes import CHILDREN, Prefix, below, by_prefix, children
from fuseid.pipelines.search.query import Diverse, Part, parts_of
from fuseid.pipelines.search.query_encoder import QueryEncoder
from fuseid.pipelines.search.spaces import CLIP, check_space
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.at_version import StoreAt, version_of
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.time_limit import limited

if TYPE_CHECKING:
    from fuseid.core.config import Config

# The key of the metadata of results that has the version of `contents` which was read.
VERSION = "fuseid.version"
RESULT_COLUMNS = ("content_id", "kind", "sid", "caption", "uri", "attributes")


class Catalog:
    """Reads a database. Safe while jobs write: each search sees one committed version of `contents`."""

    def __init__(self, store: Store, config: Config | None = None) -> None:
        self._store = store
        self._config = config
        self._session: Any = None
        self._orders = IdOrders()
        # The version that all searches see; by default each sees the newest.
        self._fixed: View | None = None
        self._last: View | None = None
        self._calibration = Calibration()
        self._encoder = QueryEncoder(store, config, self._calibration)

    @classmethod
    def open(cls, uri: str | Path, config: Config | None = None, at: str | int | date | None = None) -> Catalog:
        """config: how queries are encoded; by default as in the last ingest. at: the tag of an export, a version of
        `contents` or a time, whose state all searches then see; by default each sees the newest. Raises StoreError if
        there is no database, BadInput for a version that it does not have."""
        at = plain(at)
        return cls(Store.open(uri) if at is None else StoreAt.at(uri, at), config)

    def close(self) -> None:
        """Ends the process that decodes pictures of queries, if there is one; it also ends with this object."""
        self._encoder.close()

    @typed_keywords
    def search(
        self,
        *,
        text: str | Sequence[str] | None = None,
        image: str | Path | Sequence[str | Path] | None = None,
        video: str | Path | Sequence[str | Path] | None = None,
        vector: Sequence[float] | np.ndarray | None = None,
        like: str | Sequence[str] | None = None,
        not_like: str | Sequence[str] | None = None,
        sid: str | None = None,
        weights: Mapping[str, float | str] | None = None,
        space: str | None = None,
        diverse: int | str | None = None,
        k: int = 10,
        filter: Filter | None = None,
        where: str | None = None,
        columns: Sequence[str] = RESULT_COLUMNS,
        timeout: float | None = None,
        after: str | None = None,
    ) -> pa.Table:
        """A query of one part or several -> at most k rows, best first, with `columns`, `score`, its shares
        `score_text` and `score_image`, and the `space` that decided.

        Without a query: the items that fulfil `filter` and `where`, in the order of their content_id, without a score.

        text: compared with pictures and captions in CLIP space, and by its words with captions, where text in double
        quotes is a phrase. image, video: files, compared with pictures and videos in CLIP space. An item's score is the
        higher of its picture's and its caption's, each in standard deviations above the mean similarity of the
        catalogue to this query, since cosines between a caption and a picture and between two captions are not on one
        scale.
        vector, like: by cosine in the fused space; before the first fit, in the space of one of the other vectors. An
        item whose fused vector is zero, as all are where all items are alike, is compared by its other vectors.
        not_like: items that results should be unlike; beside another part.
        Several parts, also of one kind: their scores, all in standard deviations, are added by weight and divided by
        the sum of the weights; those of `not_like` are subtracted. weights: by part, such as {"like": 0.5}, by default
        1; 0 leaves a part out.
        space: clip, fused, or the name of a modality: where all parts are compared.
        sid: alone; all items whose ID begins with a prefix such as `12-240`, ordered by ID; their score is null.
        diverse: at most so many results whose IDs begin with the same code; "2:3" is two with the same three codes.
        filter: only items that fulfil it. where: an SQL condition on the columns of `contents`, for example
        `kind = 'video'`; with both, items fulfil both.
        timeout: seconds that a search with a condition may take, by default `lookup.timeout_seconds` of the
        configuration.
        after: with `sid`, the cursor of the page before: `fuseid.next` in the metadata of its schema. The metadata also
        says which version of `contents` was read, `fuseid.version`; a cursor stays on its version.
        Raises BadInput for a query that cannot be used, NotReady for one that takes too long, StoreError for an empty
        database.
        """
        given = {
            "text": text, "image": image, "video": video, "vector": vector, "like": like, "not_like": not_like,
        }  # fmt: skip
        parts: tuple[Part, ...] = ()
        if sid is None and (any(value is not None for value in given.values()) or not (filter or where)):
            parts = parts_of(given, weights)
        else:
            beside = given | {"weight": weights or None, "space": space, "diverse": diverse}
            if named := [option(name) for name, value in beside.items() if value is not None]:
                lists = "a look-up without a query lists" if sid is None else f"{option('sid')} lists"
                raise BadInput(f"{lists} items; leave out {', '.join(named)}")
        if k < 1:
            raise BadInput(f"{option('k')} must be at least 1, got {k}")
        if after is not None and sid is None:
            raise BadInput(
                f"{option('after')} turns the pages of {option('sid')}; for other queries give a larger {option('k')}"
            )
        cursor = None if after is None else Cursor.of(after)
        few = None if diverse is None else Diverse.of(diverse)
        view = self._view(cursor)
        view.check_columns(columns)
        k = min(k, view.count)
        condition = condition_of(view, filter, where)
        find: Callable[[], pa.Table]
        with self._refusals(where):
            if sid is not None:
                find = partial(by_prefix, view, self._orders, sid, k, condition, columns, cursor)
            elif parts:
                find = self._ranked(view, parts, space, few, k, condition, columns)
            else:
                find = partial(by_content_id, view, k, condition, columns)
            found = limited(find, self._seconds(timeout), condition)
        if condition is not None and not found.num_rows:
            explain_nothing(view, filter, where)
        return _with_version(found, view)

    @typed_keywords
    def children(self, sid: str | None = None, k: int = CHILDREN, after: str | None = None) -> pa.Table:
        """The prefixes that are one code longer than `sid`, or the first codes: at most k rows of `code`, `prefix`, the
        number of `items`, and up to three content_ids as `examples`, by code. after: as for `search`.

        Raises BadInput for what is no prefix and the cursor of another query, StoreError without IDs."""
        if k < 1:
            raise BadInput(f"{option('k')} must be at least 1, got {k}")
        cursor = None if after is None else Cursor.of(after)
        view = self._view(cursor)
        return _with_version(children(view, self._orders, sid, k, cursor), view)

    @typed_keywords
    def facets(
        self,
        names: Sequence[str],
        *,
        filter: Filter | None = None,
        where: str | None = None,
        sid: str | None = None,
        k: int = 10,
        timeout: float | None = None,
    ) -> dict[str, Facet]:
        """How many of the items that fulfil `filter` and `where`, below the prefix `sid`, have which values.

        names: `kind`, `tag`, `sid` (the next code below the prefix), `attr:NAME`. k: values listed of each.
        Memory is bounded: of more than 100,000 distinct values the counts are a little too low, and `error` says by how
        much at most. Raises what `search` raises.
        """
        if k < 1:
            raise BadInput(f"{option('k')} must be at least 1, got {k}")
        if not names:
            raise BadInput("name what to count: kind, tag, sid, attr:NAME")
        view = self._view()
        condition = condition_of(view, filter, where)
        if sid is not None:
            sid = str(Prefix.of(sid))
            condition = below(view, sid, condition)
        seconds = self._seconds(timeout)
        with self._refusals(where):
            found = limited(partial(facets, view, names, condition, sid, k, seconds), seconds, condition)
        if not next(iter(found.values())).items:
            explain_nothing(view, filter, where)
        check_found(view, found)
        return found

    def search_many(self, queries: Iterable[Mapping[str, Any]], **common: Any) -> Answers:
        """Many queries, all of one version -> an iterator of `Answer`s, in their order, each made when it is asked for.

        queries: the keywords of `search` for each, read as they are needed, in any number. common: keywords of all
        queries that do not have their own. A query that cannot be used or finds nothing is an answer with an `error`,
        and the others go on. Texts are encoded many at a time. Raises StoreError for an empty database.
        """
        return self.numbered(enumerate(queries), common)

    def numbered(self, queries: Iterable[tuple[int, Query]], common: Mapping[str, Any]) -> Answers:
        """`search_many`, of queries with their numbers."""
        check_names(self.search, common)
        common = {name: value_of(self.search, name, value) for name, value in common.items()}
        fixed, view = copy(self), self._view()
        fixed._fixed = view
        columns = common.get("columns", RESULT_COLUMNS)
        view.check_columns(columns)
        prepare = partial(fixed._encoder.prepare, view)
        return Answers(fixed.search, prepare, view.table([], columns), view.contents.version, queries, common)

    @typed_keywords
    def items(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Rows by content_id, in the order of `ids`, with all columns but the vectors, or with the columns named. An id
        that no item has is left out. Raises BadInput for a column that there is not."""
        view = View(self._store, self._store.dataset("contents"))
        names = list(columns or [name for name in view.schema.names if name not in view.dims])
        view.check_columns(names)
        found = view.rows(ids, names)
        rows = [found[name] for name in map(storable, ids) if name in found]
        return [{name: row[name] for name in names} for row in rows]

    def _view(self, cursor: Cursor | None = None) -> View:
        """The newest version of `contents`, or the one of a cursor."""
        if self._fixed is not None and cursor is None:
            return self._fixed
        if self._session is None:
            self._session = lance.Session()
        # The session keeps what was read of indexes from search to search.
        view = View(self._store, self._store.dataset("contents", self._session))
        if self._last is not None and self._last.is_still(view):
            view = self._last
        self._last = view
        if cursor is not None and cursor.version != view.version:
            view = View(self._store, self._of_cursor(cursor, view.version))
        if cursor is not None and cursor.commit != view.commit:
            raise BadInput(
                f"the cursor of {option('after')} is of another database than {self._store.uri}; leave it out"
            )
        if not view.count:
            raise self._store.empty()
        return view

    def _of_cursor(self, cursor: Cursor, newest: int) -> lance.LanceDataset:
        first = f"leave {option('after')} out to begin at the first page of version {newest}"
        if isinstance(self._store, StoreAt):
            raise BadInput(f"the cursor is of version {cursor.version} of {self._store.uri}; {first}")
        try:
            return version_of(self._store, "contents", cursor.version, self._session)
        except BadInput:
            gone = f"the cursor is of version {cursor.version} of {self._store.uri}, which is gone"
            raise BadInput(f"{gone}; {first}") from None

    def _ranked(
        self,
        view: View,
        parts: Sequence[Part],
        space: str | None,
        diverse: Diverse | None,
        k: int,
        where: str | None,
        columns: Sequence[str],
    ) -> Callable[[], pa.Table]:
        """The search for the best k results of a query with these parts, all of whose vectors are there."""
        if space is not None:
            check_space(view, space)
        best: Callable[[int, Sequence[str]], pa.Table]
        without = items_of(parts)
        first = parts[0]
        if len(parts) == 1 and first.name in ("vector", "like") and space != CLIP:
            spaces = item_columns(view, space)
            if first.name == "vector":
                column, query = spaces[0], vector_of(view, first.value, spaces[0])
            else:
                column, query = item_vector(view, storable(first.value), spaces)

            def best(count: int, columns: Sequence[str]) -> pa.Table:
                return by_vector(view, column, query, count, where, columns, without)
        else:
            clauses = clauses_of(view, self._encoder, self._calibration, parts, space)

            def best(count: int, columns: Sequence[str]) -> pa.Table:
                return combined(view, clauses, count, where, columns, without)

        if diverse is None:
            return lambda: best(k, columns)
        if not view.has_ids:
            raise StoreError(no_ids(view.store.uri))
        wider = [*columns, *({"sid"} - set(columns))]
        return lambda: diversified(lambda count: best(count, wider), k, diverse, view.count).drop_columns(
            [name for name in wider if name not in columns]
        )

    def _seconds(self, timeout: float | None) -> float | None:
        if timeout is None and self._config is not None:
            return self._config.lookup.timeout_seconds
        return timeout

    @contextmanager
    def _refusals(self, where: str | None) -> Iterator[None]:
        """Lance's errors about a condition as ours. where: the part of it that somebody wrote as SQL."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            if where is not None:
                from fuseid.pipelines.store.integrity import cause_of

                refused = f"the database refused {option('where', where)}: {reason(error)}"
                raise cause_of(error, self._store.uri) or BadInput(refused) from None
            raise


def _with_version(found: pa.Table, view: View) -> pa.Table:
    metadata = {VERSION: str(view.version), **(found.schema.metadata or {})}
    return found.replace_schema_metadata(metadata)
