"""Look-up: finds items by text, picture, video, vector, another item, or ID prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput, FingerprintMismatch, ItemError, NotReady, StoreError, TooLarge, unusable
from fuseid.core.modalities import modalities
from fuseid.core.names import hint
from fuseid.core.reasons import reason
from fuseid.core.surface import in_shell, option
from fuseid.core.text import storable
from fuseid.encoders.captions import normalise_caption
from fuseid.pipelines.store.messages import no_ids
from fuseid.pipelines.store.rows import below_prefix, rows_by_id
from fuseid.pipelines.store.search import nearest, with_words
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes
from fuseid.pipelines.store.time_limit import limited
from fuseid.pipelines.store.vector_columns import nan_rows

# What encodes queries is imported when it is used: a look-up by ID or by item starts in a fraction of the time.
if TYPE_CHECKING:
    from fuseid.core.config import Config

RESULT_COLUMNS = ("content_id", "kind", "sid", "caption", "uri", "attributes")
_PREFIX = re.compile(r"[0-9]+(-[0-9]+)*(-|\.[0-9]+)?")
# How many rows calibrate the scores of a column; if fewer than the second number have its vector, rows that have it are
# searched for.
_CALIBRATION_ROWS, _FEWEST_VECTORS = 2048, 100
# How much of a query is used for the full-text search: more than CLIP reads of it.
_FULL_TEXT_CHARS = 1000


class Catalog:
    """Reads a database. Safe while jobs write: each search sees one committed version of `contents`."""

    def __init__(self, store: Store, config: Config | None = None) -> None:
        self._store = store
        self._given_config = config
        self._stored_config: Config | None = None
        self._session: Any = None
        self._dims: dict[str, int] = {}
        self._encoders: dict[bool, Any] = {}
        self._samples: dict[str, pa.Table] = {}

    @classmethod
    def open(cls, uri: str | Path, config: Config | None = None) -> Catalog:
        """config: how queries are encoded; by default as in the last ingest. Raises StoreError if there is no
        database."""
        return cls(Store.open(uri), config)

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
        timeout: float | None = None,
    ) -> pa.Table:
        """Exactly one of the six kinds of query -> at most k rows, best first, with `columns` and a `score`.

        text: compared with pictures and captions in CLIP space; once there is a full-text index, it adds captions that
        contain the words, where text in double quotes is a phrase. image, video: compared with pictures and videos. An
        item's score is the higher of its similarities, each in standard deviations above the mean similarity of the
        catalogue to this query, since cosines between a caption and a picture and between two captions are not on one
        scale.
        vector, like: by cosine in the fused space; before the first fit, in the space of one of the other vectors. An
        item whose fused vector is zero, as all are where all items are alike, is compared by its other vectors.
        sid: all items whose ID begins with a prefix such as `12-240`, ordered by ID; their score is null.
        where: an SQL condition on the columns of `contents`, for example `kind = 'video'`.
        timeout: seconds that a search with `where` may take, by default `lookup.timeout_seconds` of the configuration.
        Raises BadInput for a query that cannot be used, NotReady for one that takes too long, StoreError for an empty
        database.
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
        known = self._dataset.schema.names
        if unknown := [name for name in columns if name not in known]:
            raise BadInput(f"{self._store.uri} has no column {unknown[0]!r}; {hint(unknown[0], known)}")
        found = self._found(given, k, where, columns, timeout)
        if where is not None and not found.num_rows:
            from fuseid.pipelines.store.conditions import check_names

            check_names(self._dataset, where)
        return found

    def _found(
        self, given: Mapping[str, Any], k: int, where: str | None, columns: Sequence[str], timeout: float | None
    ) -> pa.Table:
        text, image, video, vector, like, sid = given.values()
        if timeout is None and self._given_config is not None:
            timeout = self._given_config.lookup.timeout_seconds
        find: Callable[[], pa.Table]
        try:
            if sid is not None:
                find = partial(self._by_prefix, sid, k, where, columns)
            elif like is not None:
                find = partial(self._like, like, k, where, columns)
            elif vector is not None:
                find = partial(self._nearest, self._item_spaces()[0], _query_of(vector), k, where, columns)
            else:
                caption = None if text is None else self._caption(text)
                query = self._query_vector(caption, image, video)
                find = partial(self._in_clip_space, query, caption, k, where, columns)
            return limited(find, timeout, where)
        except (OSError, RuntimeError, ValueError) as error:
            if where is not None:
                from fuseid.pipelines.store.integrity import cause_of

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
        if self._session is None:
            self._session = lance.Session()
        # The session keeps what was read of indexes from search to search.
        self._dataset = self._store.dataset("contents", self._session)
        self._dims = vector_sizes(self._dataset.schema)
        rows = self._dataset.count_rows()
        if not rows:
            raise self._store.empty()
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
        spaces = self._item_spaces()
        row = self._rows([content_id], spaces).get(content_id)
        if row is None:
            raise NotReady(f"no item {content_id!r} in {self._store.uri}")
        column = next((name for name in spaces if row[name] is not None and any(row[name])), None)
        if column is None:
            raise NotReady(f"item {content_id!r} has no vector that is not zero, to compare with others")
        # The item is removed from its own results; an SQL condition for that would be evaluated for every row.
        query, wanted = np.asarray(row[column], np.float32), ["content_id", *_other_columns(columns)]
        found = self._nearest(column, query, k + 1, where, wanted)
        return found.filter(pc.field("content_id") != content_id)[:k].select([*columns, "score"])

    def _item_spaces(self) -> list[str]:
        """`fused` once there are IDs, then the vectors that say most: of pictures, then those brought from outside."""
        rank = {"frames": 0, "outside": 1, "caption": 2, "both": 3}
        own = sorted(modalities(self._dims), key=lambda modality: rank[modality.made_from])
        fused = ["fused"] if "fused" in self._dims and self._store.setting("champion") else []
        return [*fused, *(modality.name for modality in own)]

    def _nearest(self, column: str, query: np.ndarray, k: int, where: str | None, columns: Sequence[str]) -> pa.Table:
        size = self._dims[column]
        if query.shape != (size,) or not np.isfinite(query).all() or not query.any():
            raise BadInput(
                f"a query in {column} space takes {size} finite numbers that are not all zero, got {query.size}"
            )
        hits = nearest(self._dataset, column, query, k, where, ["content_id", *_other_columns(columns)])
        rows = [{**row, "score": 1.0 - row["_distance"]} for row in hits]
        return self._table(rows, columns)

    def _in_clip_space(
        self, query: np.ndarray, text: str | None, k: int, where: str | None, columns: Sequence[str]
    ) -> pa.Table:
        # An approximate vector index may miss a caption that contains exactly these words.
        words = [] if text is None else with_words(self._dataset, text[:_FULL_TEXT_CHARS], 2 * k + 10, where)
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
            hits = nearest(self._dataset, space, query, 2 * k + 10, where)
            near = {row["content_id"]: 1.0 - row["_distance"] for row in hits}
            near |= self._similarities(space, query, set(words) - set(near))
            for name, similarity in near.items():
                best[name] = max(best.get(name, -np.inf), (similarity - mean) / spread)
        top = sorted(best, key=lambda name: (-best[name], name))[:k]
        found = self._rows(top, columns)
        return self._table([{**found[name], "score": best[name]} for name in top], columns)

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

    def _config(self) -> Config:
        """How queries are encoded: as given, else as in the last ingest."""
        if self._given_config is not None:
            return self._given_config
        if self._stored_config is None:
            from fuseid.core.config import ClipConfig, Config, read_stored

            clip, shown = self._store.setting("clip"), f"the setting clip of {self._store.uri}"
            self._stored_config = Config() if clip is None else Config(clip=read_stored(ClipConfig, clip, shown))
        return self._stored_config

    def _caption(self, text: str) -> str:
        """The text of a query as ingest would store it."""
        try:
            caption = normalise_caption(text, self._config().decode.max_caption_chars)
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
        clip = self._encoder(texts=caption is not None)
        try:
            if caption is not None:
                return clip.encode_texts([caption])[0]
            from fuseid.encoders.decode_pool import DecodePool

            kind, path = ("image", image) if image is not None else ("video", video)
            with DecodePool(self._config().decode, 1) as pool:
                (decoded,) = pool.decode_many([(str(Path(str(path)).resolve()), kind)])
            if isinstance(decoded, ItemError):
                raise decoded
        except ItemError as error:
            raise unusable(f"cannot use the query: {error}", error) from None
        pooled = clip.encode_frames(list(decoded.frames)).mean(0)
        return pooled / np.linalg.norm(pooled)

    def _encoder(self, texts: bool) -> Any:
        """CLIP, loaded once. texts: of texts alone, which is loaded much faster, unless there is the other."""
        if found := self._encoders.get(False) or self._encoders.get(texts):
            return found
        from fuseid.encoders.model_identity import PYTHON, as_known, former_fingerprints
        from fuseid.encoders.models import load_clip, load_clip_texts

        config = self._config().clip
        if config is None:
            raise BadInput(
                f"the configuration switches CLIP off; look up by {option('like')}, {option('sid')} or a vector"
            )
        if self._given_config is None and config.model.startswith(PYTHON):
            # A database must not decide which code its readers import.
            raise BadInput(
                f"{self._store.uri} was encoded by {config.model}, which is not imported because a database names it; "
                f"pass the {option('config')} that the ingest used"
            )
        known = (self._store.setting("clip") or {}).get("model")
        spelled = config.model_copy(update={"model": as_known(config.model, known)})
        clip = load_clip_texts(spelled) if texts else load_clip(spelled)
        column = "clip_image" if "clip_image" in self._dims else "clip_text"
        sample = self._sample(column)
        stored = sample["clip_fp"][0].as_py() if len(sample) else clip.fingerprint
        if stored not in (clip.fingerprint, former_fingerprints(self._config()).get("clip_fp")):
            raise FingerprintMismatch(
                f"{self._store.uri} was encoded by CLIP {stored}, the query would be by {clip.fingerprint} "
                f"({config.model}); pass the {option('config')} that the ingest used"
            )
        self._encoders[texts] = clip
        return clip

    def _table(self, rows: list[dict[str, Any]], columns: Sequence[str]) -> pa.Table:
        schema = self._dataset.schema
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


def _other_columns(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name not in ("content_id", "score")]


def _sid_order(item: tuple[str, str]) -> tuple[list[int], int, str]:
    base, _, suffix = item[0].partition(".")
    return [int(code) for code in base.split("-")], int(suffix or 0), item[1]
