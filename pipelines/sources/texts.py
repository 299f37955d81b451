"""Text in columns of Arrow, however its writer typed it: ids above all, but also captions and uris."""

from __future__ import annotations

import uuid
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput

_UUID_BYTES = 16
_BINARY = (
    pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary,
)  # fmt: skip
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column is text, or bytes that may be text: writers such as Spark's older ones and Hive's leave out the
    mark that says so."""
    kind = plain_type(kind)
    return any(is_kind(kind) for is_kind in (*_TEXT, *_BINARY)) or pa.types.is_null(kind)


def is_id(kind: pa.DataType) -> bool:
    """Whether ids can be read from a column: text, whole numbers and UUIDs."""
    kind = plain_type(kind)
    whole = pa.types.is_decimal(kind) and kind.scale == 0
    return is_text(kind) or pa.types.is_integer(kind) or whole or isinstance(kind, pa.UuidType)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values of a column that is dictionary-encoded."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def texts_of(column: pa.Array, ids: bool = False) -> pa.Array:
    """A column for which `is_text` holds as Arrow strings; with ids one for which `is_id` does: numbers become their
    digits, and 16 bytes of fixed length a UUID in its usual form. Raises ArrowInvalid for bytes that are not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if ids and (isinstance(column.type, pa.UuidType) or column.type == pa.binary(_UUID_BYTES)):
        values = column.storage if isinstance(column, pa.ExtensionArray) else column
        named = (None if value is None else str(uuid.UUID(bytes=value)) for value in values.to_pylist())
        return pa.array(named, pa.string())
    texts = column.cast(pa.string())
    texts.validate(full=True)
    return texts


def id_texts(column: pa.Array, shown: object, first: int, name: str = "content_id") -> pa.Array:
    """Ids as Arrow strings. first: the number of the first row, from 0.

    Raises BadInput for one that is missing, empty or not UTF-8, and for a column of another type than `is_id` allows.
    """
    if not is_id(column.type):
        raise BadInput(f"{shown}: column {name} must hold text, whole numbers or UUIDs, got {plain_type(column.type)}")
    try:
        texts = texts_of(column, ids=True)
    except pa.ArrowInvalid:
        row, value = next((row, value) for row, value in enumerate(values_of(column)) if isinstance(value, Unreadable))
        raise BadInput(f"{shown}, row {first + row + 1}: {name} is {value!r}; every row needs one, as text") from None
    bad = pc.fill_null(pc.equal(pc.binary_length(texts), 0), True)
    if pc.any(bad, min_count=0).as_py():
        row = pc.index(bad, True).as_py()
        raise BadInput(
            f"{shown}, row {first + row + 1}: {name} is {texts[row].as_py()!r}; every row needs one, as text"
        )
    return texts


class Unreadable:
    """A value that cannot be made a Python object, such as text that is not UTF-8."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __repr__(self) -> str:
        if isinstance(self._error, UnicodeDecodeError):
            return "a value that is not UTF-8"
        return f"an unreadable value ({str(self._error).splitlines()[0]})"


def values_of(column: pa.Array, ids: bool = False) -> list[Any]:
    """The values of a column: text where `texts_of` can make it, Unreadable for a value that cannot be read."""
    if (is_id if ids else is_text)(column.type):
        try:
            return texts_of(column, ids).to_pylist()
        except pa.ArrowInvalid:
            return [_text(scalar) for scalar in column]
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(scalar) for scalar in column]


def _text(scalar: pa.Scalar) -> Any:
    value = _value(scalar)
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        return Unreadable(error)


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return Unreadable(error)
