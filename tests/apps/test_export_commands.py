"""`fuseid export`: its files are loaded back; an export that fails prints one line and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fuseid.pipelines.exports.folder import read_manifest
from fuseid.pipelines.exports.tries import open_trie
from fuseid.pipelines.store.store import Store
from fuseid.tokenizers.vocabulary import Vocabulary

SEQUENCES = ("sequences", "--interactions", "events.csv", "--out", "new", "--runner", "local")


@pytest.fixture
def codes(folder: Path) -> dict[str, list[int]]:
    """The codes of each item of `db`, and its suffix, 0 for no suffix."""
    rows = Store.open(folder / "db").dataset("assignments").to_table().to_pylist()
    return {row["content_id"]: [*row["codes"], row["suffix"] or 0] for row in rows}


def test_a_trie_is_mapped_and_leads_from_every_id_to_its_item(as_json, codes):
    manifest = as_json("export", "trie", "--db", "db", "--out", "trie")
    found = open_trie("trie")
    assert found.manifest == manifest
    assert (manifest["items"], manifest["ids"], manifest["levels"]) == (40, 40, 3)
    assert all(isinstance(array, np.memmap) for array in (*found.trie.offsets, *found.trie.entries))
    for content_id, row in codes.items():
        assert found.content_ids(found.trie.items(row)) == [content_id]


def test_a_trie_may_leave_out_items_and_the_digit(as_json, as_text, codes):
    manifest = as_json("export", "trie", "--db", "db", "--out", "some", "--where", "content_id < 'v10'", "--no-digit")
    found = open_trie("some")
    assert (manifest["items"], manifest["levels"], manifest["digit"]) == (10, 2, False)
    assert found.items["content_id"].to_pylist() == [f"v{n:02d}" for n in range(10)]
    for content_id in found.items["content_id"].to_pylist():
        assert content_id in found.content_ids(found.trie.items(codes[content_id][:2]))
    out = as_text("export", "trie", "--db", "db", "--out", "all")
    assert "exported to all" in out
    assert manifest["tokenizer_id"] in out


@pytest.mark.parametrize(("style", "first"), [("minionerec", "<a_0>"), ("openonerec", "<s_a_0>")])
def test_a_vocabulary_has_a_token_for_every_code_and_digit(as_json, as_text, folder, codes, style, first):
    document = as_json("export", "vocabulary", "--db", "db", "--out", "v.json", "--style", style)
    vocabulary = Vocabulary.load(folder / "v.json")
    tokens = json.loads((folder / "v.json").read_text(encoding="utf-8"))["tokens"]
    assert tokens == vocabulary.tokens
    assert tokens[4] == first
    assert document["codebook_sizes"] == [4, 3]
    assert len(set(tokens)) == len(tokens) == document["size"] == 4 + 4 + 3 + vocabulary.suffixes
    rows = np.array(list(codes.values()))
    assert document["largest_suffix"] == rows[:, -1].max() < vocabulary.suffixes
    assert np.array_equal(vocabulary.codes(vocabulary.ids(rows)), rows)
    assert "exported to w.json" in as_text("export", "vocabulary", "--db", "db", "--out", "w.json", "--style", style)


def test_exports_are_listed_by_their_tags_until_these_are_removed(as_json, as_text, folder):
    tag = as_json("export", "ids", "--db", "db", "--out", "ids", "--format", "grid")["tag"]
    assert tag in as_text("export", "tags", "--db", "db")
    assert as_json("export", "tags", "--db", "db", "--remove", tag) == {"tags": []}


def test_sequences_are_reported_as_json_and_as_text(as_json, as_text, folder, events):
    command = ("export", "sequences", "--db", "db", "--interactions", events, "--runner", "local")
    by_time = ("--split", "by-time", "--cuts", "0.8,0.9", "--keep", "none")
    assert as_json(*command, "--out", "one", *by_time) == read_manifest(folder / "one")
    assert pq.read_schema(folder / "one" / "part-00000.parquet").names[-1] == "target_timestamp"
    assert "examples" in as_text(*command, "--out", "two", "--format", "jsonl")


def test_two_tokenizers_are_exported_together_and_a_change_of_tokenizer_is_said(as_json, as_text, folder):
    first = as_json("export", "ids", "--db", "db", "--out", "first")
    as_text("fit", "--db", "db", "--codebooks", "3,4")
    [other] = set(Store.open(folder / "db").tokenizers()) - {first["tokenizer_id"]}
    both = as_json("export", "ids", "--db", "db", "--out", "both", "--with", other)
    counts = both["both"]
    out = as_text("export", "ids", "--db", "db", "--out", "again", "--with", other)
    assert other in out
    assert f"{counts['changed']} changed, {counts['same']} the same, 0 only old, 0 only new" in " ".join(out.split())
    since = as_text("export", "ids", "--db", "db", "--out", "since", "--since", first["tag"], "--tokenizer", other)
    assert "are of another tokenizer" in since
    assert f"{counts['same']} items have the same ID as there" in " ".join(since.split())
    assert "another tokenizer" not in as_text("export", "ids", "--db", "db", "--out", "same", "--since", first["tag"])
    vocabulary = as_text("export", "vocabulary", "--db", "db", "--out", "both.json", "--with", other)
    assert "new.level_starts" in vocabulary
    assert other in vocabulary


# What cannot be written


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ids", "--out", "new", "--since", "yesterday"], "has no tag 'yesterday'; there are none"),
        (["ids", "--out", "new", "--manifest", "fuseid.yaml"], "cannot read the manifest fuseid.yaml"),
        (["tags", "--remove", "yesterday"], "has no tag 'yesterday'"),
        (["trie", "--out", "new", "--where", "nonsense = 1"], "nonsense = 1"),
        (["vocabulary", "--out", "new", "--style", "tiger"], "unknown style of tokens 'tiger'"),
        (["vocabulary", "--out", "fuseid.yaml"], "fuseid.yaml exists"),
        (["vocabulary", "--out", "fuseid.yaml/new"], "cannot write fuseid.yaml/new"),
        ([*SEQUENCES, "--cuts", "0.8"], "--cuts belong to --split by-time"),
        ([*SEQUENCES, "--split", "by-time"], "takes two --cuts"),
        ([*SEQUENCES, "--time-zone", "Moon"], "unknown time zone 'Moon'"),
        ([*SEQUENCES, "--format", "csv"], "unknown format 'csv'"),
        ([*SEQUENCES[:-1], "spark"], "unknown runner 'spark'; there are ray, local"),
    ],
)
def test_invalid_options_are_refused(refused, folder, events, arguments, said):
    before = sorted(folder.iterdir())
    assert said in refused("export", *arguments, "--db", "db")
    assert sorted(folder.iterdir()) == before


def test_a_trie_of_no_item_is_refused(refused, folder):
    command = ["export", "trie", "--db", "db", "--out", "new", "--where", "content_id = 'x'"]
    assert "no item with an ID where content_id = 'x'" in refused(*command, status=1)
    assert not (folder / "new").exists()


@pytest.mark.parametrize("kind", ["ids", "trie", "vocabulary"])
def test_a_missing_database_or_tokenizer_is_refused(refused, as_text, folder, kind):
    command = ["export", kind, "--out", "new"]
    as_text("ingest", "--db", "bare", "--vectors", "vectors.npy")
    before = sorted(folder.iterdir())
    assert "no database at nowhere" in refused(*command, "--db", "nowhere")
    assert "fuseid fit --db bare" in refused(*command, "--db", "bare", status=1)
    assert "has no tokenizer 'rq-kmeans-00'" in refused(*command, "--db", "db", "--tokenizer", "rq-kmeans-00")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("kind", ["ids", "trie"])
def test_a_folder_that_is_not_empty_is_refused(refused, folder, kind):
    assert "not an empty folder" in refused("export", kind, "--db", "db", "--out", ".")
