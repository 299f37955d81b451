"""One version of `contents`, which a search reads from beginning to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lance
import pyarrow as pa

from fuseid.core.errors import BadInput
from fuseid.core.modalities import modalities
from fuseid.core.names import hint
from fuseid.pipelines.store.index_figures import IndexFigures, measured
from fuseid.pipelines.store.rows import rows_by_id
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.table_files import commit_id
from fuseid.pipelines.store.tables import vector_sizes

# What results have after their columns: the score, the shares of captions and of pictures in it, and the space, or the
# spaces joined by +, in which it was computed.
SCORES = (
    pa.field("score", pa.float32()),
    pa.field("score_text", pa.float32()),
    pa.field("score_image", pa.float32()),
    pa.field("space", pa.string()),
)


@dataclass(frozen=True)
class View:
    """contents: the version."""

    store: Store
    contents: lance.LanceDataset

    @property
    def version(self) -> int:
        return self.contents.version

    @cached_property
    def commit(self) -> str:
        """The beginning of the id of the commit that made this version: another database has another one."""
        return (commit_id(self.contents) or "")[:8]

    @property
    def key(self) -> tuple[int, str]:
        """What tells this version from all others, also from those of another database at the same place."""
        return self.version, self.commit

    def is_still(self, newest: View) -> bool:
        """Whether nothing that this view has read of the database is another in `newest`."""
        return self.has_ids and self.key == newest.key

    @cached_property
    def count(self) -> int:
        """The number of items."""
        return self.contents.count_rows()

    @cached_property
    def schema(self) -> pa.Schema:
        """Of `contents`, which Lance converts each time that it is asked."""
        return self.contents.schema

    @cached_property
    def dims(self) -> dict[str, int]:
        """The size of each vector column."""
        return vector_sizes(self.schema)

    @cached_property
    def efforts(self) -> dict[str, IndexFigures]:
        """What was measured of the index of each vector column that has a measured one."""
        return measured(self.contents, self.dims)

    @cached_property
    def has_ids(self) -> bool:
        return self.store.setting("champion") is not None

    @cached_property
    def item_spaces(self) -> list[str]:
        """The columns by which items are compared, those that say most first: `fused` once there are IDs, vectors of
        pictures, then those brought from outside."""
        rank = {"frames": 0, "outside": 1, "caption": 2, "both": 3}
        own = sorted(modalities(self.dims), key=lambda modality: rank[modality.made_from])
        fused = ["fused"] if "fused" in self.dims and self.has_ids else []
        return [*fused, *(modality.name for modality in own)]

    def check_columns(self, columns: Sequence[str]) -> None:
        """Raises BadInput for a column that there is not, and for one that is named twice."""
        known = self.schema.names
        if twice := [name for name, times in Counter(columns).items() if times > 1]:
            raise BadInput(f"the columns of results have {twice[0]!r} twice; leave one of them out")
        if unknown := [name for name in columns if name not in known]:
            raise BadInput(f"{self.store.uri} has no column {unknown[0]!r}; {hint(unknown[0], known)}")

    def rows(self, ids: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows with these columns, by content_id."""
        return {row["content_id"]: row for row in rows_by_id(self.contents, ids, with_key(columns))}

    def table(self, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pa.Table:
        """Results: these columns and `SCORES`, null where a row has none."""
        fields = []
        for name in columns:
            kind = self.schema.field(name).type
            # Lance returns JSON as text.
            fields.append(pa.field(name, pa.string() if name == "attributes" else kind))
        fields += SCORES
        return pa.Table.from_pylist(
            [{f.name: row.get(f.name) for f in fields} for row in rows], schema=pa.schema(fields)
        )


def with_key(columns: Sequence[str]) -> list[str]:
    """The columns to read for results with these columns."""
    return ["content_id", *(name for name in columns if name not in ("content_id", "score"))]
