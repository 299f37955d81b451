"""The format of GRID: gzipped TFRecords of users' item numbers, the target the last of each.

Its src/data/loading/components/iterators.py reads `training/`, `evaluation/` and `testing/` as `*.tfrecord.gz`, takes
the kind of each feature from the first record, and looks `sequence_data` up in the columns of `semantic_ids.pt`
(`fuseid export ids --format grid`); its label is the last item. Its collate function cuts every sequence of the
training split into all of its parts, so it needs only the last event of a user, with all events before it.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fuseid.pipelines.sequences.examples import Examples
from fuseid.pipelines.sequences.items import Items
from fuseid.pipelines.sequences.texts import json_text, of_histories

NAME = "grid"
TRAIN = "last"
EXTRA: tuple[str, ...] = ()
titles = None
RESERVED = ("sequence_data",)
FOLDERS = {"train": "training", "valid": "evaluation", "test": "testing"}
_USERS = pa.schema([("number", pa.int64()), ("user_id", pa.string())])


def write(chunks: Iterator[Examples], items: Items, folder: Path, shard: int) -> None:
    """`training/part-00000.tfrecord.gz` and so on, in which `user_id` is a number; `users/part-00000.parquet` maps it
    to the user.

    Kept columns are features: integers, other numbers, texts, or lists of these; anything else is JSON.
    """
    users: dict[int, str] = {}
    for split, group in groupby(chunks, key=lambda examples: examples.split):
        path = folder / FOLDERS[split] / f"part-{shard:05d}.tfrecord.gz"
        path.parent.mkdir(exist_ok=True)
        # Its header has neither a name nor a time.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            for examples in group:
                users.update(zip(examples.users_E.tolist(), examples.user_ids.to_pylist(), strict=True))
                for record in _records(examples):
                    file.write(framed(record))
    if users:
        path = folder / "users" / f"part-{shard:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        numbers = sorted(users)
        table = pa.Table.from_arrays([pa.array(numbers), pa.array([users[n] for n in numbers])], schema=_USERS)
        pq.write_table(table, path, compression="zstd")


def finish(folder: Path, items: Items) -> None:
    """`items.parquet`, the number and the content_id of every item that has an ID."""
    items.write_numbers(folder)


def framed(record: bytes) -> bytes:
    """A record of a TFRecord file: length, its checksum, the bytes, their checksum
    (https://www.tensorflow.org/tutorials/load_data/tfrecord)."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc(length) + record + _masked_crc(record)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _records(examples: Examples) -> Iterator[bytes]:
    """Messages `tf.train.Example`, their features in the order of their names."""
    message = example_message()
    feature_of = [_feature(field.type) for field in examples.kept.schema]
    names = examples.kept.column_names
    kept_rows = zip(*(column.to_pylist() for column in examples.kept.columns), strict=True)
    rows = zip(
        examples.users_E.tolist(),
        of_histories(examples.item_H.tolist(), examples.offsets_E),
        examples.target_E.tolist(),
        kept_rows if names else ((),) * len(examples),
        strict=True,
    )
    for user, past, target, kept in rows:
        example = message()
        features = example.features.feature
        features["sequence_data"].int64_list.value.extend([*past, target])
        features["user_id"].int64_list.value.append(user)
        for name, value, (kind, convert) in zip(names, kept, feature_of, strict=True):
            one = getattr(features[name], kind)
            # An empty feature has a kind, too: readers take the kinds from the first record.
            one.SetInParent()
            if value is not None:
                one.value.extend(convert(value))
        yield example.SerializeToString(deterministic=True)


def _feature(kind: pa.DataType) -> tuple[str, Any]:
    """The field of a feature for values of an Arrow type, and the conversion to it."""
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if nested else kind
    one: Callable[[Any], Any]
    if pa.types.is_integer(inner) or pa.types.is_boolean(inner):
        where, one = "int64_list", int
    elif pa.types.is_floating(inner):
        where, one = "float_list", float
    elif pa.types.is_string(inner) or pa.types.is_large_string(inner):
        where, one = "bytes_list", str.encode
    elif pa.types.is_binary(inner):
        where, one = "bytes_list", bytes
    else:
        return "bytes_list", lambda value: [json_text(value).encode()]
    if nested:
        return where, lambda values: [one(value) for value in values if value is not None]
    return where, lambda value: [one(value)]


@cache
def example_message() -> Any:
    """The class of `tf.train.Example`, from its published definition (tensorflow/core/example/*.proto), in a separate
    pool, so that TensorFlow may define the same class."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def field(of: Any, name: str, number: int, kind: int, repeated: bool = False, type_name: str = "") -> Any:
        label = types.LABEL_REPEATED if repeated else types.LABEL_OPTIONAL
        return of.field.add(name=name, number=number, type=kind, label=label, type_name=type_name or None)

    for name, kind in (
        ("BytesList", types.TYPE_BYTES),
        ("FloatList", types.TYPE_FLOAT),
        ("Int64List", types.TYPE_INT64),
    ):
        field(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        type_name = f".tensorflow.{name.title().replace('_', '')}"
        field(feature, name, number, types.TYPE_MESSAGE, type_name=type_name).oneof_index = 0
    features = message("Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    field(entry, "key", 1, types.TYPE_STRING)
    field(entry, "value", 2, types.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    field(features, "feature", 1, types.TYPE_MESSAGE, repeated=True, type_name=".tensorflow.Features.FeatureEntry")
    field(message("Example"), "features", 1, types.TYPE_MESSAGE, type_name=".tensorflow.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
