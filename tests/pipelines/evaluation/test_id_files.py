"""IDs of other systems from files, for the items of exported sequences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.evaluation.evaluate import evaluate, opened_sequences, read_ids
from fuseid.pipelines.evaluation.id_files import ids_of_file, named_files
from fuseid.pipelines.exports.snapshot import Snapshot

NAMES = pa.array(["a", "b", "c", "d"])


def written(path, rows):
    path.write_text("".join(json.dumps({"content_id": name, "codes": codes}) + "\n" for name, codes in rows.items()))
    return path


def test_items_are_in_the_order_of_the_sequences_and_more_items_do_no_harm(tmp_path):
    file = written(tmp_path / "ids.jsonl", {"d": [3, 1], "x": [7, 7], "b": [1, 1], "a": [0, 2], "c": [2, 0]})
    found = ids_of_file("ids", file, NAMES)
    assert found.codes_NM.tolist() == [[0, 2, 0], [1, 1, 0], [2, 0, 0], [3, 1, 0]]
    assert found.codebook_sizes == (8, 8)
    assert found.codes_NM.dtype == np.int32


def test_items_may_share_an_id(tmp_path):
    file = written(tmp_path / "ids.jsonl", {"d": [1], "c": [0], "b": [1], "a": [1]})
    assert ids_of_file("ids", file, NAMES).codes_NM.tolist() == [[1, 0], [1, 0], [0, 0], [1, 0]]


def test_suffixes_of_the_file_are_kept(tmp_path):
    rows = {"content_id": ["a", "b", "c", "d"], "sid": ["1-2", "1-2.5", "1-3", "0-0.1"]}
    pq.write_table(pa.table(rows), tmp_path / "ids.parquet")
    found = ids_of_file("ids", tmp_path / "ids.parquet", NAMES)
    assert found.codes_NM.tolist() == [[1, 2, 0], [1, 2, 5], [1, 3, 0], [0, 0, 1]]


def test_an_item_without_an_id_is_named(tmp_path):
    file = written(tmp_path / "ids.jsonl", {"a": [0], "d": [1]})
    with pytest.raises(BadInput, match=re.escape("no ID for 2 of the 4 items of the sequences, such as 'b'")):
        ids_of_file("ids", file, NAMES)


def test_two_kinds_of_ids_of_one_name_are_refused():
    assert named_files(["x/faiss.csv", "y/grid.pt"], ["random"]) == {
        "faiss": Path("x/faiss.csv"), "grid": Path("y/grid.pt")
    }  # fmt: skip
    for files in (["x/faiss.csv", "y/faiss.parquet"], ["random.csv"]):
        with pytest.raises(BadInput, match="two kinds of IDs would be named"):
            named_files(files, ["random"])


def test_the_same_ids_from_a_file_are_worth_the_same(made, short, tmp_path):
    uri, folder = str(made / "db"), made / "sequences"
    names, own = read_ids(Snapshot.of_manifest(uri, opened_sequences(uri, folder, None)), "semantic")
    suffixes = [f".{number}" if number else "" for number in own.codes_NM[:, -1].tolist()]
    sids = ["-".join(map(str, codes)) + end for codes, end in zip(own.codes_NM[:, :-1].tolist(), suffixes, strict=True)]
    pq.write_table(pa.table({"content_id": names, "sid": sids}), tmp_path / "again.parquet")
    found = ids_of_file("again", tmp_path / "again.parquet", names)
    assert (found.codes_NM == own.codes_NM).all()
    document = evaluate(
        uri, folder, against=("random",), ids=[tmp_path / "again.parquet"], seeds=1, setting=short, workers=1
    )
    assert [each["ids"] for each in document["ids"]] == ["semantic", "random", "again"]
    values: dict[str, dict] = {}
    for row in document["measures"]:
        values.setdefault(row["ids"], {})[row["slice"], row["measure"]] = row["value"]
    assert values["again"] == values["semantic"]
    assert any(row["against"] == "again" for row in document["differences"])
