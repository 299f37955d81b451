"""Arrow schemas: of the store's tables, and of the batches that pass between steps."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from fuseid.core.modalities import ENCODED, FUSED_OTHER, modalities

# The version that jobs write, and those that can be read; `fuseid upgrade` upgrades the others in place.
# 3: one ready-made vector, `external`, whose fingerprint is in `source_stat`.
# 3-to-4: an upgrade has begun and not ended; a fuseid that writes version 3 refuses it.
# 4: named ready-made vectors, each with a column of fingerprints beside it.
# 5: as 4, and there is another generation of fused vectors, which an earlier fuseid would take for ready-made ones.
SCHEMA_VERSION = 4
TWO_GENERATIONS = 5
CURRENT_VERSIONS = (str(SCHEMA_VERSION), str(TWO_GENERATIONS))
READABLE_VERSIONS = ("3", "3-to-4", *CURRENT_VERSIONS)
# In the metadata of the schema of `contents`.
VERSION_KEY = "fuseid.schema_version"
# In the metadata of a column of fused vectors: the id of the fusion that makes them. Without it, they are of the fusion
# in force.
FUSION_KEY = "fuseid.fusion"

# Where no source of media or captions has listed an item, `source_stat` begins with this; the name of the ready-made
# vectors whose file describes it follows, and a hash of what the file says; nothing but ":" if no file does.
ONLY_VECTORS = "vectors:"

# Only with this metadata on a field does Lance refuse a second row of the same key, also from concurrent writers.
_KEY = {"lance-schema:unenforced-primary-key": "true"}


def _key(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False, metadata=_KEY)


# What a source lists of an item, and what the store already holds of it.
# `want_media`: frames are needed, for every column made from them except those named in `kept`, which come from the
# store and are kept. `want_text`: the same for the caption. `skip_if_same`: the stored row matches the listing, so
# nothing is written if the medium's bytes still hash to `media_hash`. A `thumbnail` and no `media_hash`: the medium is
# decoded, and encoded only if it looks otherwise than these stored facts. `item_fp`: decides whether a rejected item is
# worth another attempt. `refused`: the columns that an encoder could not compute for this item, each as `COLUMN: WHY`.
WORK = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),
        ("kind", pa.string()),
        ("uri", pa.string()),
        ("path", pa.string()),
        ("caption", pa.string()),
        ("attributes", pa.string()),
        ("source_stat", pa.string()),
        ("item_fp", pa.string()),
        ("want_media", pa.bool_()),
        ("want_text", pa.bool_()),
        ("skip_if_same", pa.bool_()),
        ("kept", pa.list_(pa.string())),
        ("thumbnail", pa.binary()),
        ("media_hash", pa.string()),
        ("decoder", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration", pa.float64()),
        ("timestamps", pa.list_(pa.float64())),
        *((modality.name, pa.list_(pa.float32())) for modality in ENCODED),
        ("vlm_caption", pa.string()),
        ("vlm_tags", pa.list_(pa.string())),
        ("frames", pa.large_binary()),
        ("frames_shape", pa.list_(pa.int32())),
        ("refused", pa.list_(pa.string())),
        ("attempts", pa.int32()),
        ("error_stage", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("seconds_decode", pa.float64()),
        ("seconds_encode", pa.float64()),
        ("wait_fetch", pa.float64()),
        ("busy_decode", pa.float64()),
        ("cores_decode", pa.float64()),
        ("cores_encode", pa.float64()),
        ("device_encode", pa.float64()),
    ]
)

# Columns that the last step returns to the driver: everything except the frames.
DONE = pa.schema([field for field in WORK if field.name not in ("frames", "frames_shape", "path")])


def vectors_schema(dim: int) -> pa.Schema:
    """Ready-made vectors on their way into the store, checked. `facts`: a hash of the columns of a manifest, null if
    the file has none. `address`: of the stored row, null for an item that is not in the store."""
    return pa.schema(
        [
            pa.field("content_id", pa.string(), nullable=False),
            ("kind", pa.string()),
            ("uri", pa.string()),
            ("caption", pa.string()),
            ("attributes", pa.string()),
            ("facts", pa.string()),
            ("vector", pa.list_(pa.float32(), dim)),
            ("vector_fp", pa.string()),
            ("address", pa.uint64()),
            ("item_fp", pa.string()),
            ("attempts", pa.int32()),
            ("error_stage", pa.string()),
            ("error_class", pa.string()),
            ("error_message", pa.string()),
            ("seconds_read", pa.float64()),
        ]
    )


def contents_schema(dims: Mapping[str, int]) -> pa.Schema:
    """`contents`: one row per content_id. dims: the size of each vector column of this database, with fused ones."""
    ready = [each for each in modalities(dims) if each.made_from == "outside"]
    return pa.schema(
        [
            _key("content_id"),
            pa.field("kind", pa.string(), nullable=False),
            ("uri", pa.string()),
            ("caption", pa.string()),
            ("vlm_caption", pa.string()),
            ("vlm_tags", pa.list_(pa.string())),
            ("attributes", pa.json_()),
            ("thumbnail", pa.binary()),
            ("media_hash", pa.string()),
            ("decoder", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("duration", pa.float64()),
            ("timestamps", pa.list_(pa.float64())),
            *((name, pa.list_(pa.float32(), size)) for name, size in dims.items()),
            ("source_stat", pa.string()),
            ("caption_hash", pa.string()),
            ("decode_fp", pa.string()),
            ("clip_fp", pa.string()),
            ("vlm_fp", pa.string()),
            ("describe_fp", pa.string()),
            *((each.fingerprint, pa.string()) for each in ready),
            ("fused_fp", pa.string()),
            *([(f"{FUSED_OTHER}_fp", pa.string())] if FUSED_OTHER in dims else []),
            ("run_id", pa.string()),
            ("updated_at", pa.timestamp("us", tz="UTC")),
            ("codes", pa.list_(pa.int32())),
            ("sid", pa.string()),
            ("tokenizer_id", pa.string()),
        ],
        metadata={VERSION_KEY: str(SCHEMA_VERSION)},
    )


# The ledger. `base` is the text form of the codes without the suffix. `moved_error`: the squared error added to an item
# that was given other codes than its nearest ones.
ASSIGNMENTS = pa.schema(
    [
        pa.field("content_id", pa.string(), nullable=False),
        pa.field("tokenizer_id", pa.string(), nullable=False),
        ("fused_fp", pa.string()),
        pa.field("codes", pa.list_(pa.int32()), nullable=False),
        ("suffix", pa.int32()),
        pa.field("base", pa.string(), nullable=False),
        pa.field("sid", pa.string(), nullable=False),
        ("moved_error", pa.float32()),
        ("run_id", pa.string()),
    ]
)

REJECTED = pa.schema(
    [
        _key("content_id"),
        ("uri", pa.string()),
        ("stage", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
        ("first_run", pa.string()),
        ("last_run", pa.string()),
        ("fingerprint", pa.string()),
    ]
)

RUNS = pa.schema(
    [
        _key("run_id"),
        ("job", pa.string()),
        ("source", pa.string()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("config", pa.string()),
        ("counts", pa.string()),
        ("rejected", pa.string()),
        ("seconds", pa.string()),
        ("device_seconds", pa.float64()),
        ("drift", pa.string()),
        ("versions_before", pa.string()),
        ("versions_after", pa.string()),
        ("outcome", pa.string()),
    ]
)

LEASE = pa.schema(
    [
        _key("name"),
        ("epoch", pa.int64()),
        ("holder", pa.string()),
        ("host", pa.string()),
        ("pid", pa.int64()),
        ("process_start", pa.float64()),
        ("expires_at", pa.float64()),
    ]
)
