"""IDs from a file, of whatever system, for the items of exported sequences."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fuseid.core.errors import BadInput
from fuseid.core.surface import option
from fuseid.pipelines.adoption.checked import CheckedIds
from fuseid.pipelines.adoption.open import open_ids
from fuseid.pipelines.evaluation.controls import Ids
from fuseid.pipelines.exports.columns import column, digits_of, matrix


def named_files(files: Sequence[str | Path], taken: Sequence[str]) -> dict[str, Path]:
    """Files of IDs by their names in tables: those of the files, without endings. taken: names of other IDs. Raises
    BadInput for a name that occurs twice."""
    named: dict[str, Path] = {}
    for file in map(Path, files):
        if file.stem in named or file.stem in taken:
            raise BadInput(
                f"{option('ids')}: two kinds of IDs would be named {file.stem!r} in the tables; rename {file}"
            )
        named[file.stem] = file
    return named


def ids_of_file(name: str, file: Path, content_ids: pa.Array) -> Ids:
    """The IDs that a file has for these items, in their order. file: what `open_ids` opens; it may have more items.
    Items that share an ID are measured as such: one of them, at random, is the one that is recommended.

    Raises BadInput for a file that cannot be read as IDs, and for one that lacks an item.
    """
    with tempfile.TemporaryDirectory(prefix="fuseid-ids-") as scratch:
        checked = CheckedIds.of(open_ids(file, None, Path(scratch)), file, Path(scratch))
        table = pa.concat_tables(checked.parts()).combine_chunks()
    rows = pc.index_in(content_ids, value_set=column(table, "content_id"))
    if rows.null_count:
        first = content_ids.filter(pc.is_null(rows))[0].as_py()
        raise BadInput(
            f"{file} has no ID for {rows.null_count} of the {len(content_ids)} items of the sequences, such as "
            f"{first!r}"
        )
    rows_N = rows.to_numpy()
    codes_NL = matrix(column(table, "codes"), len(checked.sizes))[rows_N]
    suffix_N = digits_of(column(table, "suffix"))[rows_N]
    return Ids(name, np.column_stack([codes_NL, suffix_N]).astype(np.int32), checked.sizes)
