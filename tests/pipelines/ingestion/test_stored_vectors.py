"""What the store holds of items: the same answer from a table of all rows and from the index."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuseid.core.modalities import ready_made
from fuseid.pipelines.ingestion.steps import load_encoders
from fuseid.pipelines.ingestion.stored_vectors import StoredVectors, described_by, facts_stats, numbers_of
from fuseid.pipelines.remove import remove
from fuseid.pipelines.store.store import Store

AUDIO, LIKES = ready_made("audio"), ready_made("likes")


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**64 - 1), st.text(max_size=20)), max_size=8), st.integers(0, 3))
def test_hashes_of_16_digits_are_numbers_and_everything_else_is_0(values, start):
    texts = [f"{value:016x}" if isinstance(value, int) else value for value in values]
    expected = [value if isinstance(value, int) else None for value in values]
    found = numbers_of(pa.array(texts, pa.string()).slice(start)).tolist()
    for number, value, text in zip(found, expected[start:], texts[start:], strict=True):
        assert number == (0 if value is None else value) or (value is None and len((text or "").encode()) == 16)


def test_a_file_may_describe_items_that_no_source_lists_and_no_other_file_describes():
    hashes = pa.array([None, "0123456789abcdef"])
    ours, theirs = facts_stats(hashes, AUDIO).to_pylist(), facts_stats(hashes, LIKES).to_pylist()
    assert ours == ["vectors::", "vectors:audio:0123456789abcdef"]
    assert theirs[0] == ours[0]
    # The fourth is as an upgrade from schema version 3 leaves it.
    stats = pa.array([*ours, theirs[1], "vectors:external:", None, "12-345", "vectors:audio_2:0123456789abcdef", "s3:"])
    expected = [True, True, False, True, False, False, False, False]
    assert described_by(stats, AUDIO).to_pylist() == expected
    assert described_by(stats, LIKES).to_pylist() == [True, False, True, *expected[3:]]


@pytest.fixture
def stored(bare):
    """Rows of captions, of vectors, of both, and removed ones, in several fragments."""
    settings = bare.settings(clip={"model": "fake:16"})
    bare.ingest(bare.captions(40), config=settings, load=load_encoders)
    rng = np.random.default_rng(0)
    names = [*(f"t{i:03d}" for i in range(0, 40, 3)), *(f"it's {i} 日本 {i}" for i in range(30)), "last"]
    rows = {name: rng.normal(size=4).tolist() for name in names}
    bare.ingest_vectors(bare.parquet(rows, caption=["words"] * len(names)), name="audio")
    bare.ingest_vectors(bare.parquet({name: [1.0, 2.0] for name in [*names[::4], "liked"]}), name="likes")
    remove(bare.uri(), ["t003", "it's 4 日本 4"], settings)
    return bare


@pytest.mark.parametrize("modality", [AUDIO, LIKES, ready_made("none")], ids=lambda modality: modality.name)
def test_the_table_and_the_index_give_the_same_answer(stored, tmp_path, modality):
    store, rows = stored.store(), stored.rows()
    wanted = [*rows, "t003", "it's 4 日本 4", "nobody", "' OR true --", "t00", "T001"]
    order = np.random.default_rng(1).permutation(len(wanted))
    ids = pa.array([wanted[place] for place in order])
    answers = []
    for number, count in enumerate((1_000_000, 0)):
        (tmp_path / f"scratch{number}").mkdir()
        answers.append(StoredVectors(store, modality, count, tmp_path / f"scratch{number}").find(ids.slice(3)))
    for by_table, by_index in zip(*answers, strict=True):
        assert (by_table == by_index).all()
    found, addresses, vectors, facts = answers[0]
    contents = store.dataset("contents").to_table(columns=["content_id"], with_row_address=True)
    where = dict(zip(contents["content_id"].to_pylist(), contents["_rowaddr"].to_pylist(), strict=True))
    for place, name in enumerate(ids.slice(3).to_pylist()):
        row = rows.get(name)
        assert found[place] == (row is not None)
        if row is None:
            assert (addresses[place], vectors[place], facts[place]) == (0, 0, 0)
            continue
        assert addresses[place] == where[name]
        assert vectors[place] == int(row.get(modality.fingerprint) or "0", 16)
        described = (row["source_stat"] or "").startswith(f"vectors:{modality.name}:")
        free = row["source_stat"] == "vectors::"
        assert facts[place] == (int(row["source_stat"][-16:], 16) if described else int(free))


def test_of_an_empty_store_nothing_is_found(bare, tmp_path):
    found, *numbers = StoredVectors(Store.create(bare.uri()), AUDIO, 5, tmp_path).find(pa.array(["a", "b"]))
    assert found.tolist() == [False, False]
    assert [each.tolist() for each in numbers] == [[0, 0]] * 3
