"""Full-text indexes: n-grams where captions ask for them, and what is found by them."""

from __future__ import annotations

import lance
import pyarrow as pa
import pytest

from fuseid.core.schemas import contents_schema
from fuseid.pipelines.search.words import with_words
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.word_indexes import TextIndex, index_words, text_indexes

WORDS, NGRAMS = TextIndex(positions=True, ngrams=False), TextIndex(positions=False, ngrams=True)
ENGLISH = [f"a {colour} {thing}" for colour in ("red", "green", "blue") for thing in ("apple", "car", "house", "door")]
CHINESE = ["桌上的红苹果", "一个绿色的梨", "两只黑猫", "红茶和果汁", "城市的夜晚", "下雨天的街道"]
JAPANESE = ["白いTシャツ", "新しいUSB端子", "赤いリンゴ", "古いテレビ"]
THAI = ["รูปแมวดำ", "แอปเปิ้ลแดง"]


class Captions:
    def __init__(self, store: Store) -> None:
        self.store = store
        self._count = 0

    def add(self, captions: list[str | None], column: str = "caption") -> None:
        schema = contents_schema({"clip_text": 4})
        columns = {name: pa.nulls(len(captions), schema.field(name).type) for name in schema.names}
        columns["content_id"] = pa.array([f"i{self._count + number}" for number in range(len(captions))])
        columns["kind"] = pa.array(["text"] * len(captions))
        columns[column] = pa.array(captions, pa.string())
        table = pa.table([columns[name] for name in schema.names], schema=schema)
        lance.write_dataset(table, self.store.path("contents"), mode="append" if self._count else "create")
        self._count += len(captions)

    def index(self) -> dict[str, TextIndex]:
        index_words(self.store)
        return text_indexes(self.store.dataset("contents"))

    def found(self, text: str, k: int = 50, where: str | None = None) -> dict[str, float]:
        """Scores by caption."""
        dataset = self.store.dataset("contents")
        names = with_words(dataset, text, k, where)
        rows = dataset.to_table(columns=["content_id", "caption", "vlm_caption"]).to_pylist()
        return {row["caption"] or row["vlm_caption"]: names[row["content_id"]] for row in rows
                if row["content_id"] in names}  # fmt: skip


@pytest.fixture
def captions(tmp_path) -> Captions:
    return Captions(Store.create(tmp_path / "db"))


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (ENGLISH, WORDS),
        ([*ENGLISH, None, ""], WORDS),
        (CHINESE, NGRAMS),
        (THAI, NGRAMS),
        ([*ENGLISH, *JAPANESE], NGRAMS),
        # 1 of 61 is fewer than 1 in 50, 2 of 62 are more.
        ([*ENGLISH * 5, CHINESE[0]], WORDS),
        ([*ENGLISH * 5, *CHINESE[:2]], NGRAMS),
    ],
)
def test_the_kind_is_that_of_the_captions(captions, texts, kind):
    captions.add(texts)
    assert captions.index() == {"caption": kind}


def test_each_column_has_its_own_kind(captions):
    captions.add(CHINESE)
    captions.add(ENGLISH, "vlm_caption")
    assert captions.index() == {"caption": NGRAMS, "vlm_caption": WORDS}
    assert set(captions.found("红苹果 house")) == {CHINESE[0], *(text for text in ENGLISH if "house" in text)}


def test_an_index_is_made_again_when_the_scripts_change_and_not_at_the_limit(captions):
    captions.add(ENGLISH * 5)
    assert captions.index() == {"caption": WORDS}
    assert captions.found("红苹果") == {}
    captions.add(CHINESE)
    assert captions.index() == {"caption": NGRAMS}
    assert set(captions.found("红苹果")) == {CHINESE[0]}
    version = captions.store.dataset("contents").version
    assert captions.index() == {"caption": NGRAMS}
    assert captions.store.dataset("contents").version == version
    # 6 of 306 are fewer than are needed to make it, and enough to keep it.
    captions.add(ENGLISH * 20)
    assert captions.index() == {"caption": NGRAMS}
    captions.add(ENGLISH * 40)
    assert captions.index() == {"caption": WORDS}


@pytest.mark.parametrize(
    ("query", "held"),
    [
        ("红苹果", {"桌上的红苹果"}),
        ("苹果", {"桌上的红苹果"}),
        ("黑猫", {"两只黑猫"}),
        ("猫", {"两只黑猫"}),
        ("Tシャツ", {"白いTシャツ"}),
        ("ﾃﾚﾋﾞ", {"古いテレビ"}),
        ("usb", {"新しいUSB端子"}),
        ("แมว", {"รูปแมวดำ"}),
        ("houses", {text for text in ENGLISH if "house" in text}),
        ('"red apple"', {"a red apple"}),
        ('"的红"', {"桌上的红苹果"}),
        # A phrase that does not occur: its words.
        ('"苹果红"', {"桌上的红苹果"}),
        ("鲸鱼", set()),
        ("pineapples", set()),
        ("?!", set()),
        ('""', set()),
        ("", set()),
    ],
)
def test_what_is_found_by_n_grams(captions, query, held):
    captions.add([*ENGLISH, *CHINESE, *JAPANESE, *THAI])
    assert captions.index() == {"caption": NGRAMS}
    found = captions.found(query)
    assert set(found) == held
    assert all(0 < score <= 1 for score in found.values())
    assert not held or max(found.values()) == (1 if query != '"苹果红"' else pytest.approx(1 / 8))


@pytest.mark.parametrize("texts", [ENGLISH, [*ENGLISH, *CHINESE]])
def test_a_caption_that_has_a_part_of_the_words_counts_little(captions, texts):
    captions.add(texts)
    captions.index()
    found = captions.found("a red apple")
    assert found["a red apple"] == 1
    others = {text: score for text, score in found.items() if text != "a red apple"}
    assert set(others) == {text for text in ENGLISH if "red" in text or "apple" in text} - {"a red apple"}
    assert max(others.values()) <= 1 / 8


def test_results_are_bounded_and_filtered(captions):
    captions.add([*CHINESE * 20, "红色"])
    captions.index()
    names = with_words(captions.store.dataset("contents"), "红", 5)
    assert len(names) == 5
    assert captions.found("红", where="caption = '红色'") == {"红色": 1.0}
    assert captions.found("红", where="caption = 'none'") == {}


def test_rows_that_the_index_lacks_are_found(captions):
    captions.add(CHINESE)
    captions.index()
    captions.add(["新来的红苹果"])
    assert set(captions.found("红苹果")) == {CHINESE[0], "新来的红苹果"}
