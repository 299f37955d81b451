"""Planning: which items of a source need work, why, and which steps, given what the store holds."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.config import Config
from fuseid.core.errors import FetchFailed, ItemError
from fuseid.core.fingerprints import fingerprint, text_hash
from fuseid.core.modalities import ENCODED
from fuseid.core.schemas import ONLY_VECTORS, WORK
from fuseid.encoders.captions import normalise_caption
from fuseid.encoders.extra_formats import picture_decoders
from fuseid.pipelines.files.access import UNSEEN, UNVERSIONED, AccessPolicy
from fuseid.pipelines.files.fetcher import Fetcher
from fuseid.pipelines.ingestion.failures import Failures
from fuseid.pipelines.ingestion.fingerprints import StageFingerprints
from fuseid.pipelines.ingestion.looks import Look, Looker
from fuseid.pipelines.ingestion.reasons import Findings, Reason
from fuseid.pipelines.ingestion.steps import fail
from fuseid.pipelines.sources.item import VIDEO_SUFFIXES, Source, SourceItem
from fuseid.pipelines.store.rows import rows_by_id, table_by_id
from fuseid.pipelines.store.store import Store

# missing_kept: known items whose file cannot be reached now; their rows are kept.
COUNTS = ("listed", "unchanged", "missing_kept", "rejected_before", "planned")
# How many items are looked up in the store at a time.
_LOOKUP = 4096
_STATE = (
    "content_id", "kind", "uri", "attributes", "source_stat", "caption_hash",
    "decode_fp", *dict.fromkeys(modality.fingerprint for modality in ENCODED), "describe_fp",
)  # fmt: skip
_FACTS = ("thumbnail", "media_hash", "decoder", "width", "height", "duration", "timestamps")
# Columns computed from an item's frames; the VLM's vector also from its caption, if there are no frames or the prompt
# reads the caption.
_FROM_FRAMES = (*(modality.name for modality in ENCODED if modality.from_frames), "vlm_caption", "vlm_tags")


@dataclass(slots=True)
class Due:
    """An item that needs work. row: of WORK, without what is carried over from the store. keep: the columns to carry
    over."""

    row: dict[str, Any]
    keep: list[str]


@dataclass
class Plan:
    """Iterate `work()`, or `due()`, once; the counts are complete when it ends.

    found: see `Findings`.
    """

    store: Store
    source: Source
    config: Config
    fingerprints: StageFingerprints
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    rejected_before: Failures = field(default_factory=Failures)
    found: Findings = field(default_factory=Findings)
    # Known items whose media have to be fetched to see whether they changed: `items`, their `bytes`, those `unsized`.
    to_compare: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # Part of an item's fingerprint, so that rejected items are tried again under a new limit or an allowed folder,
        # and when more pictures can be decoded.
        limits = self.config.decode.model_dump(exclude={"workers", "items_per_process"}, mode="json")
        access = self.config.source.model_dump(include={"allow", "schemes", "private_hosts", "user_agent"})
        if access["user_agent"] is None:
            del access["user_agent"]  # as before there was such a key, so that nothing is tried again for it
        self._limits = [limits, access, picture_decoders()]
        self._encoders = self.fingerprints.encoders()

    @property
    def notes(self) -> list[str]:
        """Notes for the summary of the run."""
        if not self.to_compare:
            return []
        items, unsized = self.to_compare["items"], self.to_compare["unsized"]
        cost = f"{self.to_compare['bytes'] / 1e6:.1f} MB" + (f", and {unsized} of unknown size" if unsized else "")
        return [
            f"the media of {items} known items were fetched again ({cost}) to compare their bytes: their servers send "
            "neither ETag nor Last-Modified"
        ]

    @property
    def passed(self) -> int:
        """How many of the items listed so far need no work."""
        return sum(self.counts[name] for name in ("unchanged", "rejected_before", "missing_kept"))

    def work(self, go_on: Callable[[], bool] = lambda: True) -> Iterator[pa.RecordBatch]:
        """WORK batches of the items that need work, at most `run.block_rows` rows each. A video counts as its number of
        frames, and may be larger by itself. With one frame more, an encoder would run another pass, mostly padding.

        go_on: called from time to time; once it returns False, nothing more is planned.
        """
        rows: list[dict[str, Any]] = []
        weight = 0
        for row in self._rows(go_on):
            suffix = os.path.splitext((row["uri"] or "").partition("?")[0])[1].lower()
            is_video = row["kind"] == "video" or suffix in VIDEO_SUFFIXES
            frames = self.config.decode.sampling.frames if is_video else 1
            if rows and weight + frames > self.config.run.block_rows:
                yield pa.RecordBatch.from_pylist(rows, schema=WORK)
                rows, weight = [], 0
            rows.append(row)
            weight += frames
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=WORK)

    def due(self, go_on: Callable[[], bool] = lambda: True) -> Iterator[list[Due]]:
        """The items that need work, of some thousand listed ones at a time. go_on: see `work`."""
        # The store is read in a thread, while the stats of files are fetched.
        with (
            Fetcher(self.config.source, self.config.decode.max_bytes) as fetcher,
            ThreadPoolExecutor(1, "fuseid-stored") as reader,
        ):
            yield from self._due(fetcher, reader, go_on)

    def _rows(self, go_on: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        for chunk in self.due(go_on):
            self._carry_over(chunk)
            for each in chunk:
                if not go_on():
                    return
                yield each.row

    def _due(self, fetcher: Fetcher, reader: Executor, go_on: Callable[[], bool]) -> Iterator[list[Due]]:
        items = iter(self.source)
        looker = Looker(AccessPolicy(self.source.base, self.config.source), fetcher)
        started = time.perf_counter()
        while go_on() and (chunk := list(islice(items, _LOOKUP))):
            self.counts["listed"] += len(chunk)
            coming = reader.submit(self._stored, [item.content_id for item in chunk])
            looked = looker.looks(chunk)
            stored = coming.result()
            rejected = self._look_again(chunk, looked, stored, looker)
            unchanged = self._unchanged(chunk, looked, stored)
            self.counts["unchanged"] += sum(unchanged)
            rest = [i for i, same in enumerate(unchanged) if not same]
            rejected |= self._rejected([chunk[i].content_id for i in rest if chunk[i].content_id not in rejected])
            known = [row if row["content_id"] else None for row in stored.take(pa.array(rest, pa.int64())).to_pylist()]
            due: list[Due] = []
            for i, stored_row in zip(rest, known, strict=True):
                # Of a run that was killed between its two commits, a known item may still be in `rejected`.
                before = rejected.get(chunk[i].content_id) if stored_row is None else None
                if (found := self._judge(chunk[i], looked[i], stored_row, before)) is not None:
                    due.append(found)
            self.found.seconds += time.perf_counter() - started
            yield due
            started = time.perf_counter()

    def _judge(
        self, item: SourceItem, look: Look, stored: dict[str, Any] | None, before: dict[str, Any] | None
    ) -> Due | None:
        """What is to be done about an item, None for nothing; counts it. stored, before: its rows in the store and
        among the rejected items, if any."""
        row = self._row(item, look)
        # A failed fetch may succeed now; other failures are tried again when something about the item changes.
        is_transient = before is not None and before["error_class"] == FetchFailed.__name__
        is_same = before is not None and before["fingerprint"] == row["item_fp"]
        if before and is_same and not is_transient:
            self.counts["rejected_before"] += 1
            self.rejected_before.add(before["error_class"], before["content_id"], before["message"])
            return None
        row["attempts"] = before["attempts"] if before else 0
        if stored is not None and row["path"] is not None and row["source_stat"] is None:
            # A file that cannot be reached, such as on an unmounted disk, never removes a known item.
            self.counts["missing_kept"] += 1
            return None
        found = self._compare(row, stored)
        if found is None:
            self.counts["unchanged"] += 1
            return None
        keep, reason = found
        if before is not None and reason is Reason.NEW:
            reason = Reason.FETCH_FAILED if is_same else Reason.REJECTED_CHANGED
        self.counts["planned"] += 1
        self.found.reasons.add(reason, 1, [item.content_id])
        if stored is not None and row["want_media"] and _is_unversioned(row["source_stat"]):
            self._count_comparison(look)
        if reason is Reason.UNUSABLE:
            self.found.unusable.add(row["error_class"], item.content_id, row["error_message"])
        self._count_effort(row)
        if row["want_media"]:
            self._count_fetch(look)
        return Due(row, keep)

    def _look_again(
        self, items: list[SourceItem], looks: list[Look], stored: pa.Table, looker: Looker
    ) -> dict[str, dict[str, Any]]:
        """Asks by GET for known and rejected items whose server refuses HEAD; new ones are only fetched. Returns the
        rejected ones."""
        unseen = [i for i, look in enumerate(looks) if look.stat == UNSEEN]
        if not unseen:
            return {}
        known = stored["content_id"].is_valid().to_pylist()
        rejected = self._rejected([items[i].content_id for i in unseen if not known[i]])
        looker.look_again([looks[i] for i in unseen if known[i]])
        before = [i for i in unseen if items[i].content_id in rejected and not known[i]]
        looker.look_again([looks[i] for i in before], otherwise=UNSEEN)
        return rejected

    def _count_effort(self, row: dict[str, Any]) -> None:
        """Counts what `EncodeStep` will compute, as far as that is known before the medium is read."""
        kept, encoders = row["kept"] or (), self._encoders
        has_text = row["want_text"] and row["caption"] is not None and not row["error_class"]
        there = {"frames": row["want_media"], "caption": has_text}
        there["both"] = row["want_media"] or (has_text and row["uri"] is None and self.fingerprints.clip is None)
        computed = [
            each.name for each in ENCODED if encoders[each.name] and each.name not in kept and there[each.made_from]
        ]
        self.found.effort.update(computed)
        self.found.effort.update({"decode": int(row["want_media"]), "encode": int(bool(computed))})

    def _count_fetch(self, look: Look) -> None:
        assert look.location is not None
        if look.stat is None:
            self.found.fetch["unreachable"] += 1
        elif look.size is None:
            self.found.fetch["unsized"] += 1
        else:
            self.found.fetch["items"] += 1
            self.found.fetch["bytes"] += look.size
            self.found.fetch["remote_bytes"] += 0 if isinstance(look.location.file, str) else look.size

    def _count_comparison(self, look: Look) -> None:
        self.to_compare["items"] += 1
        self.to_compare["bytes"] += look.size or 0
        self.to_compare["unsized"] += look.size is None

    def _unchanged(self, items: list[SourceItem], looks: list[Look], stored: pa.Table) -> list[bool]:
        """Whether each item is in the store exactly as listed, encoded by the same models. A vectorised fast path of
        `_compare`, which must agree that these items need no work."""
        new = self.fingerprints
        models = reduce(pc.and_, [_is(stored[column], model) for column, model in new.models().items()])
        if new.describe is not None:
            models = pc.and_(models, _is(stored["describe_fp"], new.describe))
        models = pc.and_(models, pc.or_(pc.is_null(stored["uri"]), _is(stored["decode_fp"], new.decode)))
        columns = [stored[name].to_pylist() for name in ("uri", "kind", "source_stat", "caption_hash", "attributes")]
        return [
            same_models
            and uri == item.uri
            and (stat == look.stat and (stat is not None or uri is None) and not _is_unversioned(stat))
            and item.kind in (None, kind)
            and look.problem is None
            and known is not None
            and _same_json(attributes, item.attributes)
            and caption_hash == self._caption_hash(item.caption)
            for item, look, same_models, known, uri, kind, stat, caption_hash, attributes in zip(
                items, looks, models.to_pylist(), stored["content_id"].to_pylist(), *columns, strict=True
            )
        ]

    def _rejected(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        columns = ["content_id", "fingerprint", "attempts", "error_class", "message"]
        return {row["content_id"]: row for row in rows_by_id(self.store.dataset("rejected"), ids, columns)}

    def _row(self, item: SourceItem, look: Look) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(WORK.names)
        row.update(
            content_id=item.content_id, kind=item.kind, uri=item.uri, caption=item.caption, attributes=item.attributes,
            path=None if look.location is None else str(look.location), source_stat=look.stat,
            want_media=False, want_text=False, skip_if_same=False,
        )  # fmt: skip
        if look.problem is not None:
            fail(row, "source", look.problem)
        row["item_fp"] = self._fingerprint(row)
        return row

    def _fingerprint(self, row: dict[str, Any]) -> str:
        stages = self.fingerprints
        # The source's problem may be in a field that is not part of the fingerprint, such as the attributes.
        problem = {"problem": row["error_message"]} if row["error_class"] else {}
        return fingerprint(
            "item",
            uri=row["uri"],
            kind=row["kind"],
            stat=row["source_stat"],
            caption=text_hash(row["caption"]),
            stages=[stages.decode, stages.clip, stages.vlm, stages.describe],
            limits=self._limits,
            **problem,
        )

    def _compare(self, row: dict[str, Any], stored: dict[str, Any] | None) -> tuple[list[str], Reason] | None:
        """Sets which work the row needs; returns the columns to carry over from the store, and why there is work;
        None for nothing to do.

        The column `kept` names the stored vectors and texts that stay valid.
        """
        new = self.fingerprints
        has_media = row["path"] is not None
        if (whole := _from_nothing(row, stored)) is not None:
            row["want_media"], row["want_text"] = has_media, new.clip is not None or new.vlm is not None
            return [], whole
        assert stored is not None
        same_look = stored["uri"] == row["uri"] and stored["source_stat"] == row["source_stat"]
        same_media = same_look and not _is_unversioned(row["source_stat"])
        same_decode = stored["decode_fp"] == new.decode or not has_media
        same_text = stored["caption_hash"] == self._caption_hash(row["caption"])
        same_facts = _same_json(stored["attributes"], row["attributes"]) and row["kind"] in (None, stored["kind"])
        models = new.models()
        # Empty: a vector of the medium is absent, and is to be tried again (`store.incomplete`).
        same_frames = stored["decode_fp"] != ""
        same_source = {
            "frames": has_media and same_frames,
            "caption": same_text,
            "both": same_frames and (same_text or (has_media and not new.vlm_reads_caption)),
        }
        kept = [
            modality.name
            for modality in ENCODED
            if stored[modality.fingerprint] == models[modality.fingerprint] and same_source[modality.made_from]
        ]
        # If descriptions are switched off, earlier ones are kept.
        if has_media and new.describe in (None, stored["describe_fp"]):
            kept += ["vlm_caption", "vlm_tags"]
        all_of_frames = set(_FROM_FRAMES) <= set(kept)
        row["want_media"] = has_media and not (all_of_frames and same_media and same_decode)
        row["want_text"] = "clip_text" not in kept or not (has_media or "vlm" in kept)
        if not row["want_media"] and not row["want_text"] and same_facts and same_media:
            return None
        stale = {column for column, model in models.items() if stored[column] != model}
        stale |= {"decode_fp"} if same_frames and not same_decode else set()
        stale |= {"describe_fp"} if has_media and new.describe not in (None, stored["describe_fp"]) else set()
        self.found.stale.update((column, stored[column]) for column in stale)
        reason = _why(stale, same_look, same_media, same_text, is_complete=same_frames and stored["caption_hash"] != "")
        if has_media and not row["want_media"]:
            # Only media that is not decoded again keeps its kind; other media may have become of another kind.
            row["kind"] = row["kind"] or stored["kind"]
        if not has_media or not row["want_media"]:
            row["kept"] = kept
            return ([*kept, *_FACTS] if has_media else kept), reason
        if same_media and same_decode:
            # Some columns of the frames have to be computed again: the frames are decoded, the other columns stay.
            row["kept"] = kept
            return kept, reason
        row["kept"] = [name for name in kept if name not in _FROM_FRAMES]
        if all_of_frames and same_look and not same_decode:
            # The decode step compares what it finds with the stored facts, and encodes only what looks otherwise now.
            return [*kept, *(name for name in _FACTS if name != "media_hash")], reason
        row["skip_if_same"] = all_of_frames and same_decode and same_look and same_facts and not row["want_text"]
        # The file's stat has changed; the decode step compares the bytes with the stored hash, which goes along.
        return ([*kept, *_FACTS] if all_of_frames and same_decode else row["kept"]), reason

    def _caption_hash(self, caption: str | None) -> str | None:
        try:
            return text_hash(normalise_caption(caption, self.config.decode.max_caption_chars))
        except ItemError:
            return "unusable"

    def _stored(self, ids: list[str]) -> pa.Table:
        """The stored state of these items, in their order; nulls for an item that is not in the store."""
        schema = pa.schema([(name, pa.string()) for name in _STATE])
        if not self.store.has_contents():
            return pa.table([pa.nulls(len(ids), pa.string())] * len(_STATE), schema=schema)
        found = table_by_id(self.store.dataset("contents"), ids, _STATE)
        found = pa.table([found[name].cast(pa.string()) for name in _STATE], schema=schema)
        return found.take(pc.index_in(pa.array(ids, pa.string()), found["content_id"].combine_chunks()))

    def _carry_over(self, due: list[Due]) -> None:
        by_id = {each.row["content_id"]: (each.row, each.keep) for each in due if each.keep}
        if not by_id:
            return
        dims = self.store.dims()
        vectors = (modality.name for modality in ENCODED if modality.name in dims)
        columns = ["content_id", *_FACTS, "vlm_caption", "vlm_tags", *vectors]
        for stored in rows_by_id(self.store.dataset("contents"), list(by_id), columns):
            row, keep = by_id[stored["content_id"]]
            row.update({name: stored.get(name) for name in keep})


def _from_nothing(row: dict[str, Any], stored: dict[str, Any] | None) -> Reason | None:
    """Why nothing that decoders and encoders made of an item is there or stays valid; None if something may."""
    if row["error_class"]:
        return Reason.UNUSABLE
    if stored is None:
        return Reason.NEW
    if (stored["source_stat"] or "").startswith(ONLY_VECTORS):
        return Reason.FIRST_LISTED
    # From text to media or back.
    return Reason.MEDIA if (stored["uri"] is not None) != (row["uri"] is not None) else None


def _why(stale: set[str], same_look: bool, same_media: bool, same_text: bool, is_complete: bool) -> Reason:
    """The reason why a known item needs work: of several, the one that costs most. stale: columns of fingerprints."""
    holds = {
        Reason.MEDIA: not same_look,
        Reason.ENCODER: not stale.isdisjoint(modality.fingerprint for modality in ENCODED),
        Reason.DECODER: "decode_fp" in stale,
        Reason.INCOMPLETE: not is_complete,
        Reason.UNVERSIONED: not same_media,
        Reason.DESCRIPTIONS: "describe_fp" in stale,
        Reason.CAPTION: not same_text,
    }
    return next((reason for reason, it_holds in holds.items() if it_holds), Reason.ATTRIBUTES)


def _is(column: pa.ChunkedArray, value: str | None) -> pa.ChunkedArray:
    """For each row whether it equals the value, or is null if the value is None."""
    return pc.is_null(column) if value is None else pc.fill_null(pc.equal(column, value), False)


def _is_unversioned(stat: str | None) -> bool:
    return stat is not None and stat.startswith(UNVERSIONED)


def _same_json(stored: str | None, new: str) -> bool:
    return (stored or "{}") == new or json.loads(stored or "{}") == json.loads(new)
