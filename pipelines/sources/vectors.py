"""Ready-made vectors, which are used from fusion on: nothing is decoded or encoded for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, BadVector
from fuseid.pipelines.sources.item import SourceItem, unchanging
from fuseid.pipelines.sources.manifest import COLUMNS, Manifest, rows_of
from fuseid.pipelines.sources.success import check_success


class Vectors:
    """Ready-made vectors, which become the modality `external`.

    `.parquet` with `content_id` and `vector` (and any manifest columns), or `.npy` float [N, D] beside a
    `.ids.txt` of the same stem with one content_id a line. A row has a `problem` if its vector is null, or of another
    length than most vectors of the first rows.
    """

    def __init__(self, path: str | Path, config: SourceConfig | None = None) -> None:
        self.path = Path(path)
        self.base = self.path.resolve().parent
        if not self.path.is_file():
            raise BadInput(f"no such file of vectors: {path}")
        if self.path.suffix not in (".parquet", ".npy"):
            raise BadInput(f"{path}: ready-made vectors are .parquet or .npy")
        check_success([self.base], config or SourceConfig())

    def __iter__(self) -> Iterator[SourceItem]:
        try:
            with unchanging(self.path, self.path):
                yield from self._parquet() if self.path.suffix == ".parquet" else self._npy()
        except (OSError, EOFError, ValueError, pa.ArrowException) as error:
            raise BadInput(f"cannot read vectors {self.path}: {str(error).splitlines()[0]}") from None

    def _parquet(self) -> Iterator[SourceItem]:
        manifest = Manifest(self.path)
        file = pq.ParquetFile(self.path)
        names = file.schema_arrow.names
        for needed in ("content_id", "vector"):
            if needed not in names:
                raise BadInput(f"{self.path} has no column {needed}; it has {', '.join(names)}")
        kind = file.schema_arrow.field("vector").type
        if not _is_list_of_numbers(kind):
            raise BadInput(f"{self.path}: column vector must hold lists of floats, got {kind}")
        number, usual = 0, None
        for batch in file.iter_batches(batch_size=4096, columns=[n for n in (*COLUMNS, "vector") if n in names]):
            vectors = batch.column("vector")
            if usual is None:
                lengths = Counter(pc.list_value_length(vectors).drop_null().to_pylist())
                usual = lengths.most_common(1)[0][0] if lengths else None
            for position, row in enumerate(rows_of(batch.drop_columns(["vector"]))):
                number += 1
                item = manifest.item(f"row {number}", row)
                value = vectors[position].values
                if item.problem is not None:
                    yield item
                elif value is None or value.null_count:
                    yield replace(item, problem=BadVector("vector is null or holds null"))
                elif len(value) != usual:
                    problem = BadVector(f"vector has {len(value)} numbers, where others of the file have {usual}")
                    yield replace(item, problem=problem)
                else:
                    yield _with_vector(item, value.to_numpy(zero_copy_only=False))

    def _npy(self) -> Iterator[SourceItem]:
        ids_path = self.path.with_suffix(".ids.txt")
        if not ids_path.is_file():
            raise BadInput(f"{self.path} needs {ids_path.name} beside it, one content_id a line")
        vectors = np.load(self.path, mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise BadInput(f"{self.path} must hold floats [N, D], got {vectors.dtype} {list(vectors.shape)}")
        with unchanging(ids_path, ids_path), ids_path.open(encoding="utf-8") as lines:
            ids = (line.rstrip("\n") for line in lines)
            for position in range(len(vectors)):
                content_id = next(ids, None)
                if not content_id:
                    raise BadInput(f"{ids_path} has fewer ids than the {len(vectors)} rows of {self.path.name}")
                yield _with_vector(SourceItem(content_id), np.asarray(vectors[position]))
            if next(ids, None):
                raise BadInput(f"{ids_path} has more ids than the {len(vectors)} rows of {self.path.name}")


def _with_vector(item: SourceItem, vector: np.ndarray) -> SourceItem:
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, for which the item is rejected
        vector = vector.astype(np.float32)
    return replace(item, vectors={"external": vector})


def _is_list_of_numbers(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
