"""Look-up: six kinds of query, exactly one at a time; only `where` is ever interpreted as SQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuseid.core.config import ClipConfig
from fuseid.core.errors import BadInput, FingerprintMismatch, NotReady, StoreError
from fuseid.core.records import SemanticId
from fuseid.core.schemas import contents_schema
from fuseid.encoders.captions import normalise_caption
from fuseid.encoders.models import load_clip
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.lookup import RESULT_COLUMNS, Catalog
from fuseid.pipelines.search.words import with_words
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.vector_columns import to_fixed
from fuseid.pipelines.store.word_indexes import TextIndex, text_indexes


@pytest.fixture(scope="module")
def words(tmp_path_factory, make_workspace):
    """A fitted catalogue of pictures, a film and captions that all tests of this file only read."""
    workspace = make_workspace(tmp_path_factory.mktemp("lookup"))
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i), "attributes": {"n": i}} for i in range(6)]
    rows.append({"content_id": "film", "uri": workspace.video("film.mp4"), "caption": "a film"})
    rows += [*workspace.captions(12), {"content_id": "it's", "caption": "a quoted thing"}]
    workspace.ingest(rows)
    workspace.fit()
    return workspace


@pytest.fixture(scope="module")
def catalog(words):
    return words.catalog()


def ids(table) -> list[str]:
    return table["content_id"].to_pylist()


def fake(dim: int) -> ClipConfig:
    return ClipConfig(model=f"fake:{dim}")


def written(folder: Path, vectors: dict[str, np.ndarray], captions: list[str | None] | None = None) -> Store:
    """A database with rows i0, i1, ... as a fitted one has them, written as they are. vectors: by column, float32
    [N, D], a row of NaN for none."""
    ((count, dim),) = {one.shape for one in vectors.values()}
    schema = contents_schema(dict.fromkeys(vectors, dim))
    columns: dict[str, Any] = {name: pa.nulls(count, schema.field(name).type) for name in schema.names}
    columns |= {name: to_fixed(values) for name, values in vectors.items()}
    columns |= {
        "content_id": [f"i{number}" for number in range(count)],
        "kind": ["text" if number % 2 else "image" for number in range(count)],
        "caption": captions or [None] * count,
        "clip_fp": [load_clip(fake(dim)).fingerprint] * count,
    }
    store = Store.create(folder / "db")
    lance.write_dataset(pa.table(columns, schema=schema), store.path("contents"))
    store.put_settings({"champion": "rq_kmeans-0", "clip": fake(dim).model_dump()}, store.settings())
    return store


def test_words_find_at_most_k_rows_best_first(catalog):
    found = catalog.search(text="a quoted thing", k=7)
    assert found.column_names == [*RESULT_COLUMNS, "score", "score_text", "score_image", "space"]
    assert found.num_rows == len(set(ids(found))) == 7
    scores = found["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    # Its own words have the highest similarity that there is.
    assert ids(catalog.search(text="a quoted thing", k=1, where="kind = 'text'")) == ["it's"]


def test_words_find_pictures_and_captions_alike(catalog):
    assert set(catalog.search(text="a dog", k=100)["kind"].to_pylist()) == {"image", "video", "text"}


def test_a_picture_and_a_video_find_themselves_first(words, catalog):
    # How captions rank among them depends on the model.
    media = "kind <> 'text'"
    assert ids(catalog.search(image=words.media / "3.png", k=2, where=media))[0] == "p3"
    assert ids(catalog.search(image=str(words.media / "3.png"), k=1, where=media)) == ["p3"]
    assert ids(catalog.search(video=words.media / "film.mp4", k=1, where="kind = 'video'")) == ["film"]
    assert catalog.search(video=words.media / "film.mp4", k=5).num_rows == 5


def test_a_vector_of_an_item_finds_it_and_like_leaves_it_out(words, catalog):
    fused = words.rows()["p2"]["fused"]
    by_vector, like = catalog.search(vector=fused, k=4), catalog.search(like="p2", k=3)
    assert ids(by_vector)[0] == "p2"
    assert by_vector["score"][0].as_py() == pytest.approx(1, abs=1e-5)
    assert ids(like) == ids(by_vector)[1:]


def test_a_prefix_finds_exactly_what_lies_below_it_in_the_order_of_ids(words, catalog):
    held = {name: SemanticId.parse(sid) for name, sid in words.ids().items()}
    for first in {sid.codes[0] for sid in held.values()}:
        found = catalog.search(sid=str(first), k=100)
        below = [name for name, sid in held.items() if sid.codes[0] == first]
        assert ids(found) == sorted(below, key=lambda name: (held[name].codes, held[name].suffix or 0))
        assert found["score"].null_count == found.num_rows
    name, sid = next((n, s) for n, s in held.items() if s.suffix)
    assert ids(catalog.search(sid=str(sid))) == [name]
    assert name in ids(catalog.search(sid=str(sid).partition(".")[0], k=100))


def test_a_prefix_ends_where_a_code_ends(bare, cluster):
    # IDs such as 12-24 and 12-240, written into a real database instead of small ones.
    bare.ingest_vectors(cluster(8))
    bare.fit()
    wanted = ["12-24-1", "12-24-1.1", "12-24-30", "12-240-1", "12-2-4", "1-24-1", "112-24-1", "12-24"]
    store = bare.store()
    for row, sid in zip(sorted(bare.rows()), wanted, strict=True):
        store.dataset("contents").update({"sid": f"'{sid}'"}, where=f"content_id = '{row}'")
    catalog = bare.catalog()

    def below(prefix: str) -> list[str]:
        return catalog.search(sid=prefix, k=100)["sid"].to_pylist()

    assert below("12-24") == ["12-24", "12-24-1", "12-24-1.1", "12-24-30"]
    assert below("12-24-") == below("12-24")
    assert below("12-240") == ["12-240-1"]
    assert below("12-24-1") == ["12-24-1", "12-24-1.1"]
    assert below("12-24-1.1") == ["12-24-1.1"]
    assert below("12-2") == ["12-2-4"]
    assert below("1") == ["1-24-1"]
    assert below("2") == below("12-24-3") == below("12-24-1.2") == []
    assert catalog.search(sid="12", k=2)["sid"].to_pylist() == ["12-2-4", "12-24"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "at least one of text=, image=, video=, vector=, like=, sid=$"),
        ({"not_like": "p1"}, "at least one of .*; got not_like= alone"),
        ({"text": []}, "at least one of"),
        ({"text": "a", "sid": "1"}, "sid= lists items; leave out text="),
        ({"sid": "1", "weights": {"like": 1}, "space": "clip", "diverse": 1}, "leave out weight=, space=, diverse="),
    ],
    ids=str,
)
def test_a_query_has_a_part_or_is_a_prefix(catalog, query, said):
    with pytest.raises(BadInput, match=said):
        catalog.search(**query)


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_at_least_one(catalog, k):
    with pytest.raises(BadInput, match=f"got {k}"):
        catalog.search(text="a", k=k)


@pytest.mark.parametrize("k", [10_000, 1 << 31, 1 << 64])
def test_k_beyond_the_catalogue_gives_all_of_it(words, catalog, k):
    everything = len(words.rows())
    assert catalog.search(text="a", k=k).num_rows == everything
    assert catalog.search(like="p1", k=k).num_rows == everything - 1
    assert catalog.search(vector=[0.5] * 16, k=k).num_rows == everything


@pytest.mark.parametrize("query", [{"text": "a dog"}, {"like": "p1"}, {"sid": "0"}], ids=lambda q: next(iter(q)))
def test_where_narrows_every_kind_of_query(catalog, query):
    found = catalog.search(**query, k=100, where="kind = 'text' AND content_id <> 't001'")
    everything = catalog.search(**query, k=100)
    assert set(ids(found)) == {
        row["content_id"] for row in everything.to_pylist() if row["kind"] == "text" and row["content_id"] != "t001"
    }


@pytest.mark.parametrize("query", [{"text": "a dog"}, {"like": "p1"}, {"sid": "0"}, {"vector": [0.5] * 16}], ids=str)
@pytest.mark.parametrize("where", ["kind =", "colour = 'red'", "'", "kind = 'text' ORDER BY", "(", "kind"])
def test_sql_that_the_database_refuses_is_one_line(catalog, query, where):
    with pytest.raises(BadInput, match="where=") as caught:
        catalog.search(**query, where=where)
    assert "\n" not in str(caught.value)


INJECTIONS = ["' OR '1'='1", "x'); DELETE FROM contents; --", "1' OR sid IS NOT NULL --", "%", "*", "\\'"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_is_no_id_is_refused_as_a_prefix_and_unknown_as_an_item(words, catalog, text):
    with pytest.raises(BadInput, match="not an ID or ID prefix"):
        catalog.search(sid=text)
    with pytest.raises(NotReady, match="no item"):
        catalog.search(like=text)
    assert catalog.items([text]) == []
    assert catalog.search(text=text, k=1).num_rows == 1
    assert len(words.rows()) == 20


@pytest.mark.parametrize("sid", ["", "-", "1.", "a", "1,2", "1--2", "1 2", "1-2\n", ".1", "1-.1", "١"])
def test_other_texts_are_no_prefix(catalog, sid):
    with pytest.raises(BadInput, match="the form is"):
        catalog.search(sid=sid)


def test_an_id_that_the_shell_types_as_bytes_is_found_as_the_store_keeps_it(bare, cluster):
    vectors = list(cluster(8).values())
    bare.ingest_vectors({"caf\\udce9.jpg": vectors[0], "other": vectors[1]})
    catalog = bare.catalog()
    assert ids(catalog.search(like="caf\udce9.jpg")) == ["other"]
    assert [row["content_id"] for row in catalog.items(["caf\udce9.jpg"])] == ["caf\\udce9.jpg"]


def test_an_id_with_a_quote_is_an_id(catalog):
    assert catalog.items(["it's"])[0]["caption"] == "a quoted thing"
    assert "it's" not in ids(catalog.search(like="it's", k=100))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"text": " \n"}, "empty"),
        ({"text": "x" * 1_000_000}, "the limit decode.max_caption_chars"),
        ({"image": "/nowhere/a.png"}, "cannot open .*: No such file"),
        ({"video": "/nowhere/a.mp4"}, "cannot open .*: No such file"),
        ({"vector": [1.0, 2.0]}, "16 finite numbers"),
        ({"vector": [float("nan")] * 16}, "16 finite numbers"),
        ({"vector": [float("inf")] * 16}, "16 finite numbers"),
        ({"vector": [0.0] * 16}, "not all zero"),
        ({"vector": ["a"] * 16}, "vector: .*number"),
        ({"sid": "1\udce9"}, "not an ID"),
    ],
)
def test_an_invalid_query_is_refused_in_one_line(catalog, query, said):
    with pytest.raises(BadInput, match=said) as caught:
        catalog.search(**query)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nobody", "caf\udce9.jpg"])
def test_an_item_that_is_not_there_is_named_in_one_line(catalog, name):
    with pytest.raises(NotReady, match="no item") as caught:
        catalog.search(like=name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_picture_is_refused_as_a_query(words, catalog):
    with pytest.raises(BadInput, match="is not a picture in a known format"):
        catalog.search(image=words.media / "film.mp4")


def test_columns_may_be_chosen(catalog):
    found = catalog.search(like="p1", k=2, columns=("content_id", "clip_image", "attributes"))
    assert found.column_names[:4] == ["content_id", "clip_image", "attributes", "score"]


def test_a_search_sees_what_was_committed_since_the_last_one(bare, cluster):
    bare.ingest_vectors(cluster(10))
    catalog = bare.catalog()
    assert catalog.search(like="v001", k=100).num_rows == 9
    bare.ingest_vectors({"new": [1.0] * 8})
    assert catalog.search(like="v001", k=100).num_rows == 10


def test_there_must_be_a_database(tmp_path):
    with pytest.raises(StoreError, match="no database at"):
        Catalog.open(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="no fuseid database at"):
        Catalog.open(tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        Catalog.open(tmp_path / "file")
    # Looking up creates nothing.
    assert not (tmp_path / "nowhere").exists()
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    "query", [{"text": "a"}, {"image": "a.png"}, {"like": "a"}, {"sid": "1"}, {"vector": [1.0]}], ids=str
)
def test_an_empty_database_is_said_to_be_empty(tmp_path, query):
    Store.create(tmp_path / "db")
    with pytest.raises(StoreError, match=r"is empty; `fuseid ingest"):
        Catalog.open(tmp_path / "db").search(**query)


def test_a_database_whose_every_item_was_rejected_is_empty(bare):
    bare.ingest_vectors({"zero": [0.0] * 8}, config=bare.settings(clip=None, run={"max_rejected": "100%"}))
    assert bare.rows("rejected")["zero"]["error_class"] == "BadVector"
    with pytest.raises(StoreError, match="its only item was rejected, and `fuseid rejected"):
        bare.catalog().search(like="zero")


def test_before_the_fit_there_are_no_prefixes(bare, cluster):
    bare.ingest_vectors(cluster(10))
    with pytest.raises(StoreError, match="fuseid fit"):
        bare.catalog().search(sid="1")


def test_without_clip_vectors_words_cannot_be_looked_up(fitted):
    with pytest.raises(NotReady, match="no CLIP vectors"):
        fitted.catalog().search(text="a")


def test_another_model_than_the_catalogues_is_refused_and_both_are_named(words):
    config = words.settings(clip={"precision": "bf16"})
    with pytest.raises(FingerprintMismatch, match=r"encoded by CLIP \w+, the query would be by \w+"):
        Catalog.open(words.uri(), config).search(text="a dog")


def test_ready_made_vectors_are_looked_up_without_any_model(bare, cluster):
    vectors = cluster(30)
    bare.ingest_vectors(vectors)
    before = bare.catalog()
    assert ids(before.search(vector=vectors["v004"], k=1)) == ["v004"]
    bare.fit()
    after = bare.catalog()
    neighbour = after.search(like="v004", k=1).to_pylist()[0]
    assert neighbour["content_id"] in {"v009", "v014", "v019", "v024", "v029"}  # of the same centre
    fused = np.array(bare.rows()["v004"]["fused"], np.float32)
    assert ids(after.search(vector=fused, k=1)) == ["v004"]
    assert "v004" in ids(after.search(sid=bare.ids()["v004"].split("-")[0], k=100))


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Store:
    """3,000 rows with two vectors of 256 numbers, and all indexes."""
    random = np.random.default_rng(0)
    vectors = {name: random.normal(size=(3000, 256)).astype(np.float32) for name in ("clip_image", "fused")}
    captions = [f"word{number} and word{number % 97}" for number in range(3000)]
    store = written(tmp_path_factory.mktemp("large"), vectors, captions)
    maintain(store, vector_rows=1000, fts_rows=1000)
    return store


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize(
    "query", [{"vector": [0.1] * 256}, {"like": "i7"}, {"text": "word7 or else"}], ids=lambda query: next(iter(query))
)
def test_a_look_up_reads_no_whole_column(large, query):
    catalog = Catalog.open(large.uri)
    # The first one reads the index, which is as large as the column of so small a database.
    catalog.search(**query)
    before = bytes_read()
    assert catalog.search(**query).num_rows == 10
    assert bytes_read() - before < 3000 * 256 * 4 / 3


@pytest.mark.parametrize("indexed", [False, True], ids=["scan", "index"])
@pytest.mark.parametrize("where", [None, "kind = 'text'"])
def test_rows_without_a_vector_take_no_place_among_the_hits(tmp_path, indexed, where):
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 8)).astype(np.float32)
    vectors[random.random(300) < 0.6] = np.nan
    store = written(tmp_path, {"fused": vectors})
    if indexed:
        maintain(store, vector_rows=10)
    # Rows that the index lacks: some lose their vector, some get another.
    changed = np.arange(0, 300, 7)
    vectors[changed] = random.normal(size=(len(changed), 8))
    vectors[changed[::2]] = np.nan
    rows = store.dataset("contents").take(changed)
    place = rows.schema.get_field_index("fused")
    store.upsert("contents", rows.set_column(place, rows.schema.field(place), to_fixed(vectors[changed])))

    catalog = Catalog.open(store.uri)
    among_best = 0
    for query in random.normal(size=(5, 8)).astype(np.float32):
        cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        if where:
            cosines[::2] = np.nan
        best = [f"i{number}" for number in np.argsort(-cosines) if np.isfinite(cosines[number])]
        found = ids(catalog.search(vector=query, k=10, where=where))
        assert found == sorted(found, key=best.index)
        assert len(found) == min(10, len(best))
        among_best += len({*found} & {*best[:10]})
        assert ids(catalog.search(vector=query, k=1000, where=where)) == best
    assert among_best >= (40 if indexed else 50)


def test_scores_of_a_rare_modality_are_on_the_same_scale(tmp_path):
    clip = load_clip(fake(32))
    captions = [f"a caption of number {number}" for number in range(6)]
    texts, images = np.full((2, 5000, 32), np.nan, np.float32)
    texts[-6:] = clip.encode_texts(captions)
    images[:-6] = np.random.default_rng(0).normal(size=(4994, 32))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    store = written(tmp_path, {"clip_image": images, "clip_text": texts}, [None] * 4994 + captions)
    found = Catalog.open(store.uri).search(text=captions[2], k=5000)
    assert found.num_rows == 5000
    scores = dict(zip(ids(found), found["score"].to_pylist(), strict=True))
    usual = clip.encode_texts(captions) @ clip.encode_texts([captions[2]])[0]
    assert scores["i4996"] == pytest.approx((1 - usual.mean()) / usual.std(), rel=1e-4)


# Words as people type them

PHRASES = [
    "a red apple on a table", "an apple, red as wine", "red and green apples", "the red apple", "to be or not to be",
    "a naïve café", "漢字 かな", "nothing of the kind",
]  # fmt: skip


@pytest.fixture(scope="module")
def typed(tmp_path_factory) -> Store:
    """200 captions and PHRASES, with a full-text index."""
    captions = [*PHRASES, *(f"a {word} thing number {i}" for i in range(100) for word in ("green", "blue"))]
    vectors = load_clip(fake(32)).encode_texts(captions)
    store = written(tmp_path_factory.mktemp("typed"), {"clip_text": vectors}, captions)
    maintain(store, fts_rows=10)
    return store


@pytest.fixture(scope="module")
def typed_catalog(typed) -> Catalog:
    return Catalog.open(typed.uri)


def found_by_words(store: Store, text: str) -> set[str]:
    """The captions that the full-text index adds to those that CLIP finds."""
    catalog = Catalog.open(store.uri)
    assert catalog.search(text=text, k=5).num_rows == 5
    return {row["caption"] for row in catalog.items(list(with_words(store.dataset("contents"), text, 50)))}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('"red apple"', {0, 3}),
        ('"Red Apples"', {0, 3}),
        ('wine "red apple" table', {0, 3}),
        ('"red apple" "on a table"', {0}),
        ('"apple red"', {1}),
        ('"naive cafe"', {5}),
        ('"漢字 かな"', {6}),
        # Phrases that do not occur, or of words that no index keeps: the words alone.
        ('"table apple"', {0, 1, 2, 3}),
        ('"to be" wine', {1}),
        ('"?!" wine', {1}),
        ('"" wine', {1}),
        ('wine "', {1}),
        ('"wine', {1}),
        ('"to be or not to be"', {4}),
        ('"to be"', set()),
        ('"', set()),
        ('""', set()),
        ('"""', set()),
    ],
)
def test_quoted_words_are_a_phrase(typed, text, held):
    assert found_by_words(typed, text) == {PHRASES[number] for number in held}


def test_an_index_without_positions_is_searched_by_words_until_it_is_made_again(typed, tmp_path):
    captions = typed.dataset("contents").to_table()["caption"].to_pylist()
    store = written(tmp_path, {"clip_text": load_clip(fake(32)).encode_texts(captions)}, captions)
    store.dataset("contents").create_scalar_index("caption", "INVERTED")
    assert text_indexes(store.dataset("contents")) == {"caption": TextIndex(positions=False, ngrams=False)}
    assert found_by_words(store, '"red apple"') == set(PHRASES[:4])
    maintain(store)
    assert text_indexes(store.dataset("contents")) == {"caption": TextIndex(positions=True, ngrams=False)}
    assert found_by_words(store, '"red apple"') == {PHRASES[0], PHRASES[3]}
    version = store.dataset("contents").version
    maintain(store)
    assert store.dataset("contents").version == version


SYNTAX = st.sampled_from(
    ['"', '""', "\\", "(", ")", "[", "]", "{", "}", " AND ", " OR ", "NOT ", "+", "-", "*", "?", "~2", "^", ":", "/",
     "&&", "'", "`", "%", "_", ";", "--", "\n", "\t", "\0", "\ud800", "red", "apple", "caption:", "é", "漢", "👩‍👩‍👧",
     "\u202e", "\u0301"]
)  # fmt: skip


@given(text=st.one_of(st.text(), st.lists(SYNTAX, max_size=20).map("".join), st.text(alphabet='"a ', max_size=2000)))
@example(text='"' * 100_000)
@example(text='"red apple" ' * 8000)
@example(text='"' + "red apple " * 9000 + '"')
@example(text="".join(f'"w{number}" ' for number in range(12_000)))
@example(text="x" * 100_000)
@settings(max_examples=50)
def test_any_text_is_a_valid_query(typed_catalog, text):
    if normalise_caption(text, 100_000) is None:
        with pytest.raises(BadInput, match="the text to look up is empty"):
            typed_catalog.search(text=text)
    else:
        assert typed_catalog.search(text=text, k=3).num_rows == 3
