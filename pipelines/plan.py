"""Planning: which items of a source need work, and which part of it, given what the store holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, BadVector, FetchFailed, ItemError
from fuseid.core.fingerprints import fingerprint, text_hash
from fuseid.core.records import MODALITIES
from fuseid.core.schemas import WORK
from fuseid.encoders.captions import normalise_caption
from fuseid.pipelines.fetch import Fetcher
from fuseid.pipelines.listed import VIDEO_SUFFIXES, Listed, Source, is_usable_vector
from fuseid.pipelines.locate import Locator, Place
from fuseid.pipelines.stages import StageFingerprints
from fuseid.pipelines.steps import fail
from fuseid.pipelines.store import Store, rows_by_id

# missing_kept: known items whose file cannot be looked at now; their rows stay.
COUNTS = ("listed", "unchanged", "missing_kept", "rejected_before", "planned")
_LOOKUP = 1000
_READY = "vector="
_STATE = (
    "content_id", "kind", "uri", "attributes", "source_stat", "caption_hash",
    "decode_fp", "clip_fp", "vlm_fp", "describe_fp",
)  # fmt: skip
_FACTS = ("thumbnail", "media_hash", "decoder", "width", "height", "duration", "timestamps")
# What is made of an item's frames; the VLM's vector also of its caption, where it has no frames or the prompt reads it.
_FROM_FRAMES = ("clip_image", "vlm", "vlm_caption", "vlm_tags")


@dataclass
class Plan:
    """Iterate `work()` once; the counts are complete when it ends."""

    store: Store
    source: Source
    config: Config
    fingerprints: StageFingerprints
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def __post_init__(self) -> None:
        # A raised limit or a newly allowed folder gives rejected items another try.
        limits = self.config.decode.model_dump(exclude={"workers", "items_per_process"}, mode="json")
        self._limits = [limits, self.config.source.model_dump(include={"allow", "schemes", "private_hosts"})]

    def work(self) -> Iterator[pa.RecordBatch]:
        """WORK batches of `run.block_rows` rows (a video counts as its frames) of the items that need anything done."""
        rows: list[dict[str, Any]] = []
        weight = 0
        for row in self._rows():
            rows.append(row)
            suffix = Path((row["uri"] or "").partition("?")[0]).suffix.lower()
            is_video = row["kind"] == "video" or suffix in VIDEO_SUFFIXES
            weight += self.config.decode.sampling.frames if is_video else 1
            if weight >= self.config.run.block_rows:
                yield pa.RecordBatch.from_pylist(rows, schema=WORK)
                rows, weight = [], 0
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=WORK)

    def _rows(self) -> Iterator[dict[str, Any]]:
        with Fetcher(self.config.source, self.config.decode.max_bytes) as fetcher:
            yield from self._planned(fetcher)

    def _planned(self, fetcher: Fetcher) -> Iterator[dict[str, Any]]:
        items = iter(self.source)
        locator = Locator(self.source.base, self.config.source)
        while chunk := list(islice(items, _LOOKUP)):
            ids = [item.content_id for item in chunk]
            stored = self._stored(ids)
            columns = ["content_id", "fingerprint", "attempts", "error_class"]
            rejected = {row["content_id"]: row for row in rows_by_id(self.store.dataset("rejected"), ids, columns)}
            changed: list[tuple[dict[str, Any], list[str]]] = []
            for row in self._looked_at([self._row(item, locator) for item in chunk], fetcher):
                self.counts["listed"] += 1
                before = rejected.get(row["content_id"])
                # A network that failed may be back; all else is tried again when something about the item changes.
                passing = before is not None and before["error_class"] == FetchFailed.__name__
                if before and before["fingerprint"] == row["item_fp"] and not passing:
                    self.counts["rejected_before"] += 1
                    continue
                row["attempts"] = before["attempts"] if before else 0
                known = stored.get(row["content_id"])
                if known is not None and row["path"] is not None and row["source_stat"] is None:
                    # A disk that is not mounted tonight must not cost the catalogue: what is there stays as it is.
                    self.counts["missing_kept"] += 1
                    continue
                keep = self._compare(row, known)
                if keep is None:
                    self.counts["unchanged"] += 1
                    continue
                self.counts["planned"] += 1
                changed.append((row, keep))
            self._carry_over(changed)
            yield from (row for row, _ in changed)

    def _row(self, item: Listed, locator: Locator) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(WORK.names)
        row.update(
            content_id=item.content_id, kind=item.kind, uri=item.uri, caption=item.caption, attributes=item.attributes,
            want_media=False, want_text=False,
        )  # fmt: skip
        try:
            if item.problem is not None:
                raise item.problem
            for modality, vector in (item.vectors or {}).items():
                if not is_usable_vector(vector):
                    raise BadVector(f"{modality} vector is zero or not finite")
                row[modality] = vector
                row["source_stat"] = _READY + hashlib.blake2b(vector.tobytes(), digest_size=8).hexdigest()
            if item.uri is not None and item.vectors is None:
                row["path"] = str(locator.place(item.uri))
        except ItemError as error:
            fail(row, "source", error)
        return row

    def _looked_at(self, rows: list[dict[str, Any]], fetcher: Fetcher) -> list[dict[str, Any]]:
        """Sets what tells whether a row's file, or anything else about it, has changed."""
        with_media = [row for row in rows if row["path"] is not None]
        stats = fetcher.stats([Place.parse(row["path"]) for row in with_media])
        for row, stat in zip(with_media, stats, strict=True):
            row["source_stat"] = stat
        for row in rows:
            row["item_fp"] = self._fingerprint(row)
        return rows

    def _fingerprint(self, row: dict[str, Any]) -> str:
        stages = self.fingerprints
        return fingerprint(
            "item",
            uri=row["uri"],
            kind=row["kind"],
            stat=row["source_stat"],
            caption=text_hash(row["caption"]),
            stages=[stages.decode, stages.clip, stages.vlm, stages.describe],
            limits=self._limits,
        )

    def _compare(self, row: dict[str, Any], stored: dict[str, Any] | None) -> list[str] | None:
        """Sets what the row wants; returns the columns to carry over from the store, None for nothing to do."""
        new = self.fingerprints
        has_media = row["path"] is not None
        if stored is None or row["error_class"]:
            row["want_media"], row["want_text"] = has_media, new.clip is not None or new.vlm is not None
            return []
        ready = (stored["source_stat"] or "").startswith(_READY)
        if ready != (row["external"] is not None):
            here, there = ("with a ready-made vector", "from a manifest")[:: 1 if ready else -1]
            raise BadInput(
                f"{row['content_id']!r} is in {self.store.uri} {here} and cannot also come {there}; use another --db"
            )
        if (stored["uri"] is not None) != (row["uri"] is not None):
            # From words to a medium or back: nothing that is stored still stands.
            row["want_media"], row["want_text"] = has_media, new.clip is not None or new.vlm is not None
            return []
        same_clip, same_vlm = stored["clip_fp"] == new.clip, stored["vlm_fp"] == new.vlm
        same_media = stored["uri"] == row["uri"] and stored["source_stat"] == row["source_stat"]
        same_decode = stored["decode_fp"] == new.decode or not has_media
        same_text = stored["caption_hash"] == self._caption_hash(row)
        same_facts = json.loads(stored["attributes"] or "{}") == json.loads(row["attributes"]) and row["kind"] in (
            None,
            stored["kind"],
        )
        if row["external"] is not None:
            return None if same_media and same_text and same_facts else []
        stands = []
        if same_clip:
            stands += ["clip_image"] * has_media + ["clip_text"] * same_text
        if same_vlm and (same_text or (has_media and not new.vlm_reads_caption)):
            stands.append("vlm")
        # Switched off, describing leaves what was said before.
        if has_media and new.describe in (None, stored["describe_fp"]):
            stands += ["vlm_caption", "vlm_tags"]
        all_of_frames = set(_FROM_FRAMES) <= set(stands)
        row["want_media"] = has_media and not (all_of_frames and same_media and same_decode)
        row["want_text"] = "clip_text" not in stands or not (has_media or "vlm" in stands)
        if not row["want_media"] and not row["want_text"] and same_facts and same_media:
            return None
        if has_media and not row["want_media"]:
            # Media that is looked at again may have become of another kind; only what stands keeps its kind.
            row["kind"] = row["kind"] or stored["kind"]
        if not has_media or not row["want_media"]:
            row["stands"] = stands
            return [*stands, *_FACTS] if has_media else stands
        if same_media and same_decode:
            # Some of what is made of the frames: they are decoded again, the rest stays.
            row["stands"] = stands
            return stands
        row["stands"] = [name for name in stands if name not in _FROM_FRAMES]
        # The file was touched; with its stored hash along, the decode step sees whether its bytes changed.
        return [*stands, *_FACTS] if all_of_frames and same_decode else row["stands"]

    def _caption_hash(self, row: dict[str, Any]) -> str | None:
        try:
            return text_hash(normalise_caption(row["caption"], self.config.decode.max_caption_chars))
        except ItemError:
            return "unusable"

    def _stored(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        if not self.store.has_contents():
            return {}
        return {row["content_id"]: row for row in rows_by_id(self.store.dataset("contents"), ids, _STATE)}

    def _carry_over(self, changed: list[tuple[dict[str, Any], list[str]]]) -> None:
        by_id = {row["content_id"]: (row, keep) for row, keep in changed if keep}
        if not by_id:
            return
        dims = self.store.dims()
        columns = ["content_id", *_FACTS, "vlm_caption", "vlm_tags", *(m for m in MODALITIES if m in dims)]
        for stored in rows_by_id(self.store.dataset("contents"), list(by_id), columns):
            row, keep = by_id[stored["content_id"]]
            row.update({name: stored.get(name) for name in keep})
