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
from fuseid.core.errors import BadInput, BadVector, ItemError
from fuseid.core.fingerprints import fingerprint, text_hash
from fuseid.core.records import MODALITIES
from fuseid.core.schemas import WORK
from fuseid.encoders.captions import normalise_caption
from fuseid.pipelines.locate import Locator, stat_of
from fuseid.pipelines.sources import VIDEO_SUFFIXES, Listed, Source, is_usable_vector
from fuseid.pipelines.stages import StageFingerprints
from fuseid.pipelines.steps import fail
from fuseid.pipelines.store import Store, rows_by_id

# missing_kept: known items whose file cannot be looked at now; their rows stay.
COUNTS = ("listed", "unchanged", "missing_kept", "rejected_before", "planned")
_LOOKUP = 1000
_READY = "vector="
_STATE = ("content_id", "kind", "uri", "attributes", "source_stat", "caption_hash", "decode_fp", "clip_fp", "vlm_fp")
_FACTS = ("thumbnail", "media_hash", "decoder", "width", "height", "duration", "timestamps")


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
        self._limits = [limits, list(self.config.source.allow)]

    def work(self) -> Iterator[pa.RecordBatch]:
        """WORK batches of `run.block_rows` rows (a video counts as its frames) of the items that need anything done."""
        rows: list[dict[str, Any]] = []
        weight = 0
        for row in self._rows():
            rows.append(row)
            is_video = row["kind"] == "video" or Path(row["path"] or "").suffix.lower() in VIDEO_SUFFIXES
            weight += self.config.decode.sampling.frames if is_video else 1
            if weight >= self.config.run.block_rows:
                yield pa.RecordBatch.from_pylist(rows, schema=WORK)
                rows, weight = [], 0
        if rows:
            yield pa.RecordBatch.from_pylist(rows, schema=WORK)

    def _rows(self) -> Iterator[dict[str, Any]]:
        items = iter(self.source)
        locator = Locator(self.source.base, self.config.source)
        while chunk := list(islice(items, _LOOKUP)):
            ids = [item.content_id for item in chunk]
            stored = self._stored(ids)
            rejected = {
                row["content_id"]: row
                for row in rows_by_id(self.store.dataset("rejected"), ids, ["content_id", "fingerprint", "attempts"])
            }
            changed: list[tuple[dict[str, Any], list[str]]] = []
            for item in chunk:
                self.counts["listed"] += 1
                row = self._row(item, locator)
                before = rejected.get(item.content_id)
                if before and before["fingerprint"] == row["item_fp"]:
                    self.counts["rejected_before"] += 1
                    continue
                row["attempts"] = before["attempts"] if before else 0
                known = stored.get(item.content_id)
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
                row["path"] = locator.path(item.uri)
                row["source_stat"] = stat_of(row["path"])
        except ItemError as error:
            fail(row, "source", error)
        row["item_fp"] = fingerprint(
            "item",
            uri=row["uri"],
            kind=row["kind"],
            stat=row["source_stat"],
            caption=text_hash(row["caption"]),
            stages=[self.fingerprints.decode, self.fingerprints.clip, self.fingerprints.vlm],
            limits=self._limits,
        )
        return row

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
        same_models = stored["clip_fp"] == new.clip and stored["vlm_fp"] == new.vlm
        same_media = stored["uri"] == row["uri"] and stored["source_stat"] == row["source_stat"]
        same_decode = stored["decode_fp"] == new.decode or not has_media
        same_text = stored["caption_hash"] == self._caption_hash(row)
        same_facts = json.loads(stored["attributes"] or "{}") == json.loads(row["attributes"]) and row["kind"] in (
            None,
            stored["kind"],
        )
        if row["external"] is not None:
            return None if same_media and same_text and same_facts else []
        row["want_media"] = has_media and not (same_models and same_media and same_decode)
        row["want_text"] = not (same_models and same_text)
        if not row["want_media"] and not row["want_text"] and same_facts and same_media:
            return None
        if has_media and not row["want_media"]:
            # Media that is looked at again may have become of another kind; only what stands keeps its kind.
            row["kind"] = row["kind"] or stored["kind"]
        keep: list[str] = []
        if has_media and not row["want_media"]:
            keep += [*_FACTS, "clip_image", "vlm"]
        elif has_media and same_models and same_decode:
            # The file was touched; with its stored hash along, the decode step sees whether its bytes changed.
            keep += [*_FACTS, "clip_image", "vlm"]
        if not row["want_text"]:
            keep += ["clip_text"] if has_media else ["clip_text", "vlm"]
        return keep

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
        columns = ["content_id", *_FACTS, *(m for m in MODALITIES if m in dims)]
        for stored in rows_by_id(self.store.dataset("contents"), list(by_id), columns):
            row, keep = by_id[stored["content_id"]]
            row.update({name: stored.get(name) for name in keep})
