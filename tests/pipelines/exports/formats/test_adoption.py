"""IDs that were exported and are adopted: every form that can be read comes back as it was."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption import minionerec as minionerec_ids
from fuseid.pipelines.adoption.open import open_ids
from fuseid.pipelines.exports.columns import IDS
from fuseid.pipelines.exports.folder import write_manifest
from fuseid.pipelines.exports.formats import grid, minionerec, parquet

from .format_items import catalogues, export, ids_of, many

FORMATS = {parquet.NAME: parquet, grid.NAME: grid, minionerec.NAME: minionerec}
quick = settings(max_examples=15, deadline=None, derandomize=True)


def read(path: Path, scratch: Path) -> pa.Table:
    tables = list(open_ids(path, None, scratch).tables())
    return pa.concat_tables([IDS.empty_table(), *tables]).sort_by("content_id").combine_chunks()


def exported(name: str, table: pa.Table, folder: Path, sizes: tuple[int, ...]) -> Path:
    export(FORMATS[name], table, folder, sizes)
    write_manifest(folder, {"format": name, "codebook_sizes": list(sizes)})
    return folder


@pytest.mark.parametrize("name", FORMATS)
@quick
@given(data=st.data())
def test_an_export_is_read_back(name, data):
    table, sizes = data.draw(catalogues())
    assume(table.num_rows and "" not in table["content_id"].to_pylist())
    with tempfile.TemporaryDirectory() as scratch:
        folder = exported(name, table, Path(scratch) / "out", sizes)
        assert read(folder, Path(scratch)).equals(ids_of(table))
        assert open_ids(folder, None, Path(scratch)).sizes == sizes


@pytest.mark.parametrize("name", FORMATS)
def test_a_large_export_is_read_in_tables(name, tmp_path, monkeypatch):
    monkeypatch.setattr(minionerec_ids, "_CHUNK", 1 << 14)
    table = many(70_000)
    folder = exported(name, table, tmp_path / "out", (256, 256, 256))
    assert read(folder, tmp_path).equals(ids_of(table))
    assert len(list(open_ids(folder, None, tmp_path).tables())) > 1


def test_an_altered_export_is_refused(tmp_path):
    folder = exported("parquet", many(10), tmp_path / "out", (256, 256, 256))
    (folder / "ids-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match="is not what its manifest says"):
        open_ids(folder, None, tmp_path)
