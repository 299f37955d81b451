"""Look-up: finds items by text, picture, video, vector, another item, or ID prefix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.query import BooleanQuery, FullTextQuery, MatchQuery, Occur, PhraseQuery

from fuseid.core.config import ClipConfig, Config, read_stored
from fuseid.core.errors import BadInput, FingerprintMismatch, ItemError, NotReady, StoreError, TooLarge, unusable
from fuseid.core.modalities import modalities
from fuseid.core.reasons import reason
from fuseid.core.surface import command, in_shell, option
from fuseid.core.text import storable
from fuseid.encoders.captions import normalise_caption
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.model_identity import PYTHON, as_known, former_fingerprints
from fuseid.encoders.models import load_clip
from fuseid.pipelines.store.indexes import text_indexes
from fuseid.pipelines.store.integrity import cause_of
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.rows import below_prefix, rows_by_id
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes
from fuseid.pipelines.store.vector_columns import nan_rows

RESULT_COLUMNS = ("content_id", "kind", "sid", "caption", "uri", "attributes")
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)*(-|\.[0-9]+)?")
# How many rows calibrate the scores of a column; if fewer than the second number have its vector, rows that have it are
# searched for.
_CALIBRATION_ROWS, _FEWEST_VECTORS = 2048, 100
# How much of a query is used for the full-text search: more than CLIP reads of it.
_FULL_TEXT_CHARS = 1000


class Catalog:
    """Reads a database. Safe while jobs write: each search sees one committed version of `contents`."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._config_is_stored = False
        self._contents: Any = None
        self._dims: dict[str, int] = {}
        self._clip: Any = None
        self._samples: dict[str, pa.Table] = {}

    @classmethod
    def open(cls, uri: str | Path, config: Config | None = None) -> Catalog:
        """config: how queries are encoded; by default as in the last ingest. Raises StoreError if there is no
        database."""
        store = Store.open(uri)
        if config is not None:
            return cls(store, config)
        clip = store.setting("clip")
        if clip is not None:
            config = Config(clip=read_stored(ClipConfig, clip, f"the setting clip of {store.uri}"))
        catalog = cls(store, config or Config())
        catalog._config_is_stored = True
        return catalog

    def search(
        self,
        *,
        text: str | None = None,
        image: str | Path | None = None,
        video: str | Path | None = None,
        vector: Sequence[float] | np.ndarray | None = None,
        like: str | None = None,
        sid: str | None = None,
        k: int = 10,
        where: str | None = None,
        columns: Sequence[str] = RESULT_COLUMNS,
    ) -> pa.Table:
        """Exactly one of the six kinds of query -> at most k rows, best first, with `columns` and a `score`.

        text: compared with pictures and captions in CLIP space; once there is a full-text index, it adds captions that
        contain the words, where text in double quotes is a phrase. image, video: compared with pictures and videos. An
        item's score is the higher of its similarities, each in standard deviations above the mean similarity of the
        catalogue to this query, since cosines between a caption and a picture and between two captions are not on one
        scale.
        vector, like: by cosine in the fused space; before the first fit, in the space of one of the other vectors.
        sid: all items whose ID begins with a prefix such as `12-240`, ordered by ID; their score is null.
        where: an SQL condition on the columns of `contents`, for example `kind = 'video'`.
        Raises BadInput for a query that cannot be used, StoreError for an empty database.
        """
        given = {"text": text, "image": image, "video": video, "vector": vector, "like": like, "sid": sid}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            kinds = [option(name) for name in given if not (name == "vector" and in_shell())]
            got = ", ".join(map(option, named)) or "none"
            raise BadInput(f"a look-up takes exactly one of {', '.join(kinds)}; got {got}")
        if k < 1:
            raise BadInput(f"{option('k')} must be at least 1, got {k}")
        k = min(k, self._begin())
        try:
            if sid is not None:
                return self._by_prefix(sid, k, where, columns)
            if like is not None:
                return self._like(like, k, where, columns)
            if vector is not None:
                return self._nearest(self._item_space(), _query_of(vector), k, where, columns)
            caption = None if text is None else self._caption(text)
            return self._in_clip_space(self._query_vector(caption, image, video), caption, k, where, columns)
        except (OSError, RuntimeError, ValueError) as error:
            if where is not None:
                refused = f"the database refused {option('where', where)}: {reason(error)}"
                raise cause_of(error, self._store.uri) or BadInput(refused) from None
            raise

    def items(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Rows by content_id, with all columns but the vectors, or with the columns named."""
        dataset = self._store.dataset("contents")
        dims = vector_sizes(dataset.schema)
        names = columns or [name for name in dataset.schema.names if name not in dims]
        return list(rows_by_id(dataset, list(ids), names))

    def _begin(self) -> int:
        """Opens the newest version of `contents`, which the whole search uses -> the number of its rows."""
        if self._contents is None:
            self._store.dataset("contents")
            self._contents = lancedb.connect(self._store.uri).open_table("contents")
        self._contents.checkout_latest()
        self._dataset = self._contents.to_lance()
        self._dims = vector_sizes(self._dataset.schema)
        rows = self._contents.count_rows()
        if not rows:
            raise StoreError(
                f"the database {self._store.uri} is empty; {command('ingest', self._store.uri, 'SOURCE')} fills it"
            )
        return rows

    def _rows(self, ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {
            row["content_id"]: row for row in rows_by_id(self._dataset, ids, ["content_id", *_other_columns(columns)])
        }

    def _by_prefix(self, sid: str, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
        if not _PREFIX.fullmatch(sid):
            raise BadInput(f"not an ID or ID prefix: {sid!r}; the form is 12, 12-240, 12-240-7 or 12-240-7.1")
        stem = sid.rstrip("-")
        condition = below_prefix(stem) + (f" AND ({where})" if where else "")
        if self._store.setting("champion") is None:
            raise StoreError(no_ids(self._store.uri))
        keys = self._dataset.to_table(columns=["sid", "content_id"], filter=condition)
        order = sorted(zip(keys["sid"].to_pylist(), keys["content_id"].to_pylist(), strict=True), key=_sid_order)[:k]
        found = self._rows([i for _, i in order], columns)
        rows = [{**found[i], "score": None} for _, i in order]
        return self._table(rows, columns)

    def _like(self, content_id: str, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
        content_id = storable(content_id)
        column = self._item_space()
        row = self._rows([content_id], [column]).get(content_id)
        if row is None:
            raise NotReady(f"no item {content_id!r} in {self._store.uri}")
        if row[column] is None:
            raise NotReady(f"item {content_id!r} has no {column} vector")
        # The item is removed from its own results; an SQL condition for that would be evaluated for every row.
        query, wanted = np.asarray(row[column], np.float32), ["content_id", *_other_columns(columns)]
        found = self._nearest(column, query, k + 1, where, wanted)
        return found.filter(pc.field("content_id") != content_id)[:k].select([*columns, "score"])

    def _item_space(self) -> str:
        """`fused` once there are IDs, else the vectors that say most: of pictures, then those brought from outside."""
        if "fused" in self._dims and self._store.setting("champion"):
            return "fused"
        rank = {"frames": 0, "outside": 1, "caption": 2, "both": 3}
        own = modalities(self._dims.keys() - {"fused"})
        return min(own, key=lambda modality: rank[modality.made_from]).name

    def _nearest(self, column: str, query: np.ndarray, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
        size = self._dims[column]
        if query.shape != (size,) or not np.isfinite(query).all() or not query.any():
            raise BadInput(
                f"a query in {column} space takes {size} finite numbers that are not all zero, got {query.size}"
            )
        hits = self._hits(column, query, k, where, ["content_id", *_other_columns(columns)])
        rows = [{**row, "score": 1.0 - row["_distance"]} for row in hits]
        return self._table(rows, columns)

    def _in_clip_space(
        self, query: np.ndarray, text: str | None, k: int, where: str | None, columns: Sequence[str]
    ) -> pa.Table:
        # An approximate vector index may miss a caption that contains exactly these words.
        words = self._full_text(text, 2 * k + 10, where) if text is not None else []
        spaces = [name for name in ("clip_image", "clip_text") if name in self._dims]
        if text is None and "clip_image" in self._dims:
            # A picture finds pictures and videos; captions would displace copies of it.
            spaces = ["clip_image"]
        best: dict[str, float] = {}
        for space in spaces:
            sample = self._sample(space)
            if not len(sample):
                continue
            usual = nan_rows(sample[space], self._dims[space]) @ query
            mean, spread = float(usual.mean()), max(float(usual.std()), 1e-6)
            # A few more than k: an item near the end of one list may be among the best of both.
            near = {row["content_id"]: 1.0 - row["_distance"] for row in self._hits(space, query, 2 * k + 10, where)}
            near |= self._similarities(space, query, set(words) - set(near))
            for name, similarity in near.items():
                best[name] = max(best.get(name, -np.inf), (similarity - mean) / spread)
        top = sorted(best, key=lambda name: (-best[name], name))[:k]
        found = self._rows(top, columns)
        return self._table([{**found[name], "score": best[name]} for name in top], columns)

    def _hits(
        self, column: str, query: np.ndarray, k: int, where: str | None, columns: Sequence[str] = ("content_id",)
    ) -> list[dict[str, Any]]:
        """Rows with their `_distance`, nearest first. Rows without a vector are never found, with or without an index,
        so there is no condition for that; it would read the whole column."""
        search = self._contents.search(query, vector_column_name=column).distance_type("cosine")
        if where:
            search = search.where(where, prefilter=True)
        return search.limit(k).select([*columns, "_distance"]).to_arrow().to_pylist()

    def _full_text(self, text: str, k: int, where: str | None) -> list[str]:
        """Ids of items whose captions, their own or generated, contain words of the text; none while there are too few
        captions for an index."""
        found: dict[str, None] = {}
        for column, positions in sorted(text_indexes(self._dataset).items()):
            for query in _full_text_queries(text[:_FULL_TEXT_CHARS], column, positions):
                search = self._contents.search(query, query_type="fts").limit(k)
                if where:
                    search = search.where(where, prefilter=True)
                hits = search.select(["content_id", "_score"]).to_arrow()
                if hits.num_rows:
                    found |= dict.fromkeys(hits["content_id"].to_pylist())
                    break
        return list(found)

    def _similarities(self, column: str, query: np.ndarray, ids: set[str]) -> dict[str, float]:
        rows = rows_by_id(self._dataset, sorted(ids), ["content_id", column], f"{column} IS NOT NULL")
        return {row["content_id"]: float(np.asarray(row[column], np.float32) @ query) for row in rows}

    def _sample(self, column: str) -> pa.Table:
        """Rows spread over the catalogue that have a vector in `column`: this vector and `clip_fp`."""
        if column not in self._samples:
            rows, wanted = self._dataset.count_rows(), ["clip_fp", column]
            # Taking these few rows reads much less than a scan that stops when enough are found: Lance reads far ahead.
            spread = np.linspace(0, rows - 1, min(rows, _CALIBRATION_ROWS)).astype(np.int64)
            found = self._dataset.take(spread, columns=wanted)
            found = found.filter(found[column].is_valid())
            if len(found) < min(rows, _FEWEST_VECTORS):
                found = self._dataset.to_table(columns=wanted, filter=f"{column} IS NOT NULL", limit=_CALIBRATION_ROWS)
            self._samples[column] = found
        return self._samples[column]

    def _caption(self, text: str) -> str:
        """The text of a query as ingest would store it."""
        try:
            caption = normalise_caption(text, self._config.decode.max_caption_chars)
        except TooLarge as error:
            raise BadInput(f"cannot use the query: {error}") from None
        if caption is None:
            raise BadInput("the text to look up is empty")
        return caption

    def _query_vector(self, caption: str | None, image: str | Path | None, video: str | Path | None) -> np.ndarray:
        if "clip_image" not in self._dims and "clip_text" not in self._dims:
            raise NotReady(
                f"{self._store.uri} holds no CLIP vectors; look up by {option('like')}, {option('sid')} or a vector"
            )
        clip = self._load_clip()
        try:
            if caption is not None:
                return clip.encode_texts([caption])[0]
            kind, path = ("image", image) if image is not None else ("video", video)
            with DecodePool(self._config.decode, 1) as pool:
                (decoded,) = pool.decode_many([(str(Path(str(path)).resolve()), kind)])
            if isinstance(decoded, ItemError):
                raise decoded
        except ItemError as error:
            raise unusable(f"cannot use the query: {type(error).__name__}: {error}", error) from None
        pooled = clip.encode_frames(list(decoded.frames)).mean(0)
        return pooled / np.linalg.norm(pooled)

    def _load_clip(self) -> Any:
        if self._clip is None:
            if self._config.clip is None:
                raise BadInput(
                    f"the configuration switches CLIP off; look up by {option('like')}, {option('sid')} or a vector"
                )
            if self._config_is_stored and self._config.clip.model.startswith(PYTHON):
                # A database must not decide which code its readers import.
                raise BadInput(
                    f"{self._store.uri} was encoded by {self._config.clip.model}, which is not imported because a "
                    f"database names it; pass the {option('config')} that the ingest used"
                )
            known = (self._store.setting("clip") or {}).get("model")
            spelled = self._config.clip.model_copy(update={"model": as_known(self._config.clip.model, known)})
            clip = load_clip(spelled)
            column = "clip_image" if "clip_image" in self._dims else "clip_text"
            sample = self._sample(column)
            stored = sample["clip_fp"][0].as_py() if len(sample) else clip.fingerprint
            if stored not in (clip.fingerprint, former_fingerprints(self._config).get("clip_fp")):
                raise FingerprintMismatch(
                    f"{self._store.uri} was encoded by CLIP {stored}, the query would be by {clip.fingerprint} "
                    f"({self._config.clip.model}); pass the {option('config')} that the ingest used"
                )
            self._clip = clip
        return self._clip

    def _table(self, rows: list[dict[str, Any]], columns: Sequence[str]) -> pa.Table:
        schema = self._contents.schema
        fields = []
        for name in columns:
            kind = schema.field(name).type
            # Lance returns JSON as text.
            fields.append(pa.field(name, pa.string() if name == "attributes" else kind))
        fields.append(pa.field("score", pa.float32()))
        return pa.Table.from_pylist(
            [{f.name: row.get(f.name) for f in fields} for row in rows], schema=pa.schema(fields)
        )


def _query_of(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # infinite numbers are refused later
            return np.asarray(vector, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise BadInput(f"a query vector holds numbers, got {str(vector)[:80]!r}") from None


def _full_text_queries(text: str, column: str, positions: bool) -> list[FullTextQuery]:
    """Full-text queries, to be tried in this order until one finds something: captions that contain every phrase in
    double quotes; then captions that contain any of the words. Double quotes are the only syntax; one that is never
    closed is ignored. positions: whether the index has the positions of words, without which it finds no phrases."""
    parts = text.split('"')
    words = MatchQuery(" ".join(parts), column)  # type: ignore[call-arg]
    phrases = [(Occur.MUST, PhraseQuery(part, column)) for part in parts[1:-1:2]]  # type: ignore[call-arg]
    return [BooleanQuery([*phrases, (Occur.SHOULD, words)]), words] if phrases and positions else [words]


def _other_columns(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name not in ("content_id", "score")]


def _sid_order(item: tuple[str, str]) -> tuple[list[int], int, str]:
    base, _, suffix = item[0].partition(".")
    return [int(code) for code in base.split("-")], int(suffix or 0), item[1]
