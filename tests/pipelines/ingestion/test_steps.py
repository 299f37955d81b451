"""Generated captions and tags, and what a change of models or words makes a run compute again; with fake encoders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import lancedb
import numpy as np
import pytest

from fuseid.core import fingerprints
from fuseid.core.config import Config
from fuseid.core.errors import TooManyRejected
from fuseid.encoders.fake import FakeClip, FakeVlm
from fuseid.pipelines.explain import explain
from fuseid.pipelines.indexing.upkeep import maintain
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.ingestion.steps import EncodeStep
from fuseid.pipelines.lookup import Catalog
from fuseid.pipelines.rejected import retry
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.store.incomplete import incomplete, remedy
from fuseid.pipelines.store.indexes import unindexed_rows
from fuseid.pipelines.store.store import Store
from fuseid.pipelines.store.tables import vector_sizes

ASKED = {"caption": "What is it?", "tags": "Name tags."}
SHOWN = ("clip_image", "vlm", "vlm_caption", "vlm_tags", "thumbnail", "media_hash", "duration", "timestamps")


class Counted:
    """An encoder that counts the items it is given, by method."""

    def __init__(self, encoder: Any, counts: Counter[str]) -> None:
        self._encoder = encoder
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._encoder, name)
        if not callable(found):
            return found

        def call(items: Any) -> Any:
            self._counts[name] += len(items)
            return found(items)

        return call


class Shop:
    """A catalogue of two pictures, a video of two frames and a caption alone, and what a run over it computes."""

    def __init__(self, workspace: Any) -> None:
        self.workspace = workspace
        self.decode: dict[str, Any] = {}
        self.rows = [
            {"content_id": "one", "uri": workspace.picture("one.png", 1), "caption": "the first"},
            {"content_id": "two", "uri": workspace.picture("two.png", 2)},
            {"content_id": "film", "uri": workspace.video("film.mp4", 3), "caption": "a film"},
            {"content_id": "words", "caption": "only words"},
        ]

    def run(self, **vlm: Any) -> dict[str, int]:
        """-> the items that each encoder was given."""
        counts: Counter[str] = Counter()
        config = self.workspace.settings(clip={"model": "fake:8"}, vlm={"model": "fake:8", **vlm}, decode=self.decode)

        def load(config: Config) -> EncodeStep:
            counts["loads"] += 1
            encoders = Counted(FakeClip(8), counts), Counted(FakeVlm(8, config.vlm), counts)
            return EncodeStep(*encoders, describes=config.vlm.caption is not None)

        run = self.workspace.ingest(self.rows, config=config, load=load)
        assert run.counts["rejected"] == 0
        return dict(counts)

    def stored(self, *columns: str) -> dict[str, list[Any]]:
        rows = self.workspace.rows()
        return {name: [row[column] for column in columns] for name, row in rows.items()}


@pytest.fixture
def shop(bare: Any) -> Shop:
    return Shop(bare)


ALL = {"loads": 1, "encode_frames": 4, "encode_texts": 3, "encode_items": 3}


def test_a_new_catalogue_is_encoded_and_described_in_one_pass(shop: Shop) -> None:
    assert shop.run(**ASKED) == ALL | {"describe": 3}
    said = shop.stored("vlm_caption", "vlm_tags")
    assert said["words"] == [None, None]
    for name in ("one", "two", "film"):
        caption, tags = said[name]
        assert caption.startswith("something ")
        assert len(tags) == 2
    assert shop.stored("caption")["one"] == ["the first"], "the user's own stays beside it"


@pytest.mark.slow
def test_descriptions_switched_on_later_cost_a_decode_but_no_vector(shop: Shop) -> None:
    assert shop.run() == ALL
    before = shop.stored("clip_image", "clip_text", "vlm")
    assert shop.stored("vlm_caption", "vlm_tags")["one"] == [None, None]
    assert shop.run(**ASKED) == {"loads": 1, "describe": 3}
    assert shop.stored("clip_image", "clip_text", "vlm") == before
    assert all(shop.stored("vlm_caption")[name][0] for name in ("one", "two", "film"))
    assert shop.run(**ASKED) == {}


def test_a_new_question_describes_again_and_no_question_keeps_the_descriptions(shop: Shop) -> None:
    shop.run(**ASKED)
    said = shop.stored("vlm_caption", "vlm_tags")
    assert shop.run() == {}
    assert shop.run(**ASKED, max_new_tokens=5) == {"loads": 1, "describe": 3}
    assert shop.stored("vlm_caption", "vlm_tags") == said


def test_a_caption_edit_decodes_nothing_unless_the_vlm_reads_it(shop: Shop) -> None:
    shop.run(**ASKED)
    before = shop.stored("vlm", "vlm_caption")
    shop.rows[0]["caption"] = "another"
    assert shop.run(**ASKED) == {"loads": 1, "encode_texts": 1}
    assert shop.stored("vlm", "vlm_caption") == before


def test_a_caption_edit_reaches_a_vlm_that_reads_it_beside_the_frames(shop: Shop) -> None:
    reads = {**ASKED, "prompt": "It is {caption}."}
    shop.run(**reads)
    before = shop.stored("clip_image", "vlm", "vlm_caption")
    shop.rows[0]["caption"] = "another"
    assert shop.run(**reads) == {"loads": 1, "encode_texts": 1, "encode_items": 1}
    after = shop.stored("clip_image", "vlm", "vlm_caption")
    assert (before["two"], before["film"]) == (after["two"], after["film"])
    assert before["one"][::2] == after["one"][::2]
    assert before["one"][1] != after["one"][1]


def test_another_vlm_prompt_leaves_clip_alone(shop: Shop) -> None:
    shop.run(**ASKED)
    before = shop.stored("clip_image", "clip_text", "vlm_caption")
    assert shop.run(**ASKED, prompt="Other.") == {"loads": 1, "encode_items": 3}
    assert shop.stored("clip_image", "clip_text", "vlm_caption") == before


def test_a_touched_file_is_not_encoded_again_and_a_changed_one_is(shop: Shop) -> None:
    shop.run(**ASKED)
    before = shop.stored("clip_image", "vlm", "vlm_caption", "vlm_tags")
    os.utime(shop.workspace.media / "one.png", ns=(1, 1))
    assert shop.run(**ASKED) == {"loads": 1}
    assert shop.stored("clip_image", "vlm", "vlm_caption", "vlm_tags") == before
    shop.workspace.picture("one.png", 99)
    assert shop.run(**ASKED) == {"loads": 1, "encode_frames": 1, "encode_items": 1, "describe": 1}
    assert shop.stored("clip_image")["one"] != before["one"][:1]


def test_what_looks_as_before_is_not_encoded_again_when_decoding_has_changed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run(**ASKED)
    before = shop.stored(*SHOWN)
    known_by = shop.stored("decode_fp")
    monkeypatch.setitem(fingerprints.STEP_VERSIONS, "decode", fingerprints.STEP_VERSIONS["decode"] + 1)
    assert shop.run(**ASKED) == {"loads": 1}
    assert shop.stored(*SHOWN) == before
    assert all(shop.stored("decode_fp")[name] != known_by[name] for name in ("one", "two", "film"))
    assert shop.run(**ASKED) == {}


def test_what_looks_otherwise_is_encoded_again_when_decoding_has_changed(shop: Shop) -> None:
    shop.run(**ASKED)
    before = shop.stored(*SHOWN)
    shop.decode = {"sampling": {"method": "uniform", "frames": 1}}
    assert shop.run(**ASKED) == {"loads": 1, "encode_frames": 1, "encode_items": 1, "describe": 1}
    after = shop.stored(*SHOWN)
    assert (before["one"], before["two"], before["words"]) == (after["one"], after["two"], after["words"])
    assert len(after["film"][-1]) == 1
    assert before["film"][0] != after["film"][0]


def test_models_are_loaded_once_for_all_batches(shop: Shop) -> None:
    shop.rows += [{"content_id": f"more-{i}", "caption": f"word {i}"} for i in range(40)]
    assert shop.run()["loads"] == 1


def with_vlm(shop: Shop, vlm: type[FakeVlm], clip: bool = True, **asked: str) -> Any:
    """A run over the shop with a VLM of this class; -> the run."""
    config = shop.workspace.settings(clip={"model": "fake:8"} if clip else None, vlm={"model": "fake:8", **asked})
    step = EncodeStep(FakeClip(8) if clip else None, vlm(8, config.vlm), describes=bool(asked))
    return shop.workspace.ingest(shop.rows, config=config, load=lambda _: step)


class Speechless(FakeVlm):
    def describe(self, frames: Any) -> Any:
        if any(len(item) == 2 for item in frames):
            raise RuntimeError("no words for this")
        return super().describe(frames)


class Narrow(FakeVlm):
    """Takes no videos."""

    def encode_items(self, items: Any) -> np.ndarray:
        if any(len(frames) == 2 for frames, _ in items):
            raise MemoryError
        return super().encode_items(items)


class Blind(FakeVlm):
    def encode_items(self, items: Any) -> np.ndarray:
        return np.full((len(items), self.dim), np.nan, np.float32)


def test_an_item_that_cannot_be_described_lacks_only_its_description(shop: Shop) -> None:
    run = with_vlm(shop, Speechless, **ASKED)
    assert (run.counts["committed"], run.counts["rejected"], run.counts["incomplete"]) == (4, 0, 1)
    (film,) = shop.stored("vlm_caption")["film"]
    assert film is None
    assert any("vlm_caption (1), such as 'film': no words for this" in note for note in run.notes)


@pytest.mark.parametrize(("vlm", "lacking"), [(Narrow, {"film"}), (Blind, {"one", "two", "film"})])
def test_what_one_encoder_cannot_take_costs_its_modality_and_is_not_tried_every_night(shop: Shop, vlm, lacking) -> None:
    run = with_vlm(shop, vlm)
    assert (run.counts["committed"], run.counts["rejected"]) == (4, 0)
    assert run.counts["incomplete"] == len(lacking)
    rows = shop.workspace.rows()
    # A caption alone is CLIP's.
    assert {key for key, row in rows.items() if row.get("vlm") is None} == lacking | {"words"}
    assert all(rows[key]["clip_image"] is not None and rows[key]["vlm_fp"] for key in lacking)
    for key in ("one", "film"):
        found = explain(shop.workspace.uri(), key)
        assert set(found["missing"]) == ({"vlm"} if key in lacking else set())
        assert all(rows[key]["vlm_fp"] in why and "retry" in why for why in found["missing"].values())
    assert explain(shop.workspace.uri(), "words")["missing"] == {}
    assert listed_as_incomplete(shop) == ({"vlm": len(lacking)}, lacking)

    again = shop.run()
    assert again == {}, "the same model is not asked again"
    assert shop.run(prompt="Another.")["encode_items"] == 3, "another one is"


def listed_as_incomplete(shop: Shop) -> tuple[dict[str, int], set[str]]:
    """What a report counts by vector, and the items that its filter lists."""
    contents = Store.open(shop.workspace.uri()).dataset("contents")
    sizes = vector_sizes(contents.schema)
    found = incomplete(contents, {name: contents.count_rows(f"{name} IS NOT NULL") for name in sizes})
    if not found["where"]:
        assert found == {"items": 0, "by_vector": {}, "where": ""}
        return {}, set()
    names = contents.to_table(columns=["content_id"], filter=found["where"])["content_id"].to_pylist()
    assert found["items"] == len(names)
    assert f"{found['items']} items lack a vector" in remedy(shop.workspace.uri(), found)
    return found["by_vector"], set(names)


def test_retry_asks_the_encoder_again(shop: Shop) -> None:
    with_vlm(shop, Narrow)
    before = shop.stored("clip_image", "clip_text", "vlm")
    marked = retry(shop.workspace.uri(), shop.workspace.settings())
    assert marked.counts["incomplete"] == 1
    assert shop.run() == {"loads": 1, "encode_frames": 2, "encode_items": 1}
    after = shop.stored("clip_image", "clip_text", "vlm")
    assert after.pop("film")[2] is not None
    before.pop("film")
    assert after == before
    assert shop.run() == {}
    assert "incomplete" not in retry(shop.workspace.uri(), shop.workspace.settings()).counts
    assert listed_as_incomplete(shop) == ({}, set())


def test_a_caption_that_clip_cannot_take_leaves_the_picture(shop: Shop) -> None:
    class Illiterate(FakeClip):
        def encode_texts(self, texts: Any) -> np.ndarray:
            if "the first" in texts:
                raise ValueError("too long")
            return super().encode_texts(texts)

    config = shop.workspace.settings(clip={"model": "fake:8"})
    run = shop.workspace.ingest(shop.rows, config=config, load=lambda _: EncodeStep(Illiterate(8), None))
    assert (run.counts["committed"], run.counts["incomplete"]) == (4, 1)
    assert set(explain(shop.workspace.uri(), "one")["missing"]) == {"clip_text"}
    assert listed_as_incomplete(shop) == ({"clip_text": 1}, {"one"})
    assert retry(shop.workspace.uri(), config, "EncodeFailed").counts["incomplete"] == 1
    step = EncodeStep(FakeClip(8), None)
    assert shop.workspace.ingest(shop.rows, config=config, load=lambda _: step).counts["planned"] == 1
    assert explain(shop.workspace.uri(), "one")["missing"] == {}


def test_an_item_of_which_no_encoder_takes_anything_is_rejected(shop: Shop) -> None:
    run = with_vlm(shop, Narrow, clip=False)
    assert (run.counts["committed"], run.counts["rejected"]) == (3, 1)
    (row,) = shop.workspace.rows("rejected").values()
    assert (row["content_id"], row["error_class"], row["message"]) == (
        "film",
        "EncodeFailed",
        "vlm: there is not enough memory",
    )
    assert "incomplete" not in run.counts


def test_an_encoder_that_refuses_everything_ends_the_run(shop: Shop) -> None:
    shop.rows = [
        {"content_id": f"{i}", "uri": shop.workspace.picture(f"{i % 7}.png", i % 7), "caption": f"{i}"}
        for i in range(120)
    ]
    with pytest.raises(TooManyRejected, match=r"each of the first 1\d\d items that need vlm"):
        with_vlm(shop, Blind)


def test_fake_encoders_work_by_name_from_ingest_to_look_up(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = shop.workspace
    config = workspace.settings(clip={"model": "fake:24"}, vlm={"model": "fake:24", **ASKED})
    run = ingest(workspace.uri(), open_source(workspace.manifest(shop.rows)), config, LocalRunner())
    assert any("FAKE" in note for note in run.notes)
    workspace.fit()
    catalog = Catalog.open(workspace.uri())
    assert catalog.search(text="a film", k=1)["content_id"].to_pylist() == ["film"]
    assert catalog.search(image=workspace.media / "two.png", k=1)["content_id"].to_pylist() == ["two"]
    found = explain(workspace.uri(), "two")
    assert found["vlm_caption"].startswith("something ")
    assert found["vlm_tags"]
    assert found["fingerprints"]["describe_fp"]


def test_generated_captions_are_in_the_full_text_index(shop: Shop) -> None:
    shop.run(**ASKED)
    store = shop.workspace.store()
    maintain(store, fts_rows=3)
    assert unindexed_rows(store)["vlm_caption_idx"] == 0
    colours = {name: row[0].split()[1] for name, row in shop.stored("vlm_caption").items() if row[0]}
    table = lancedb.connect(store.uri).open_table("contents")
    hits = table.search(colours["one"], query_type="fts", fts_columns="vlm_caption").to_arrow()
    assert set(hits["content_id"].to_pylist()) == {name for name, said in colours.items() if said == colours["one"]}
    catalog = Catalog.open(shop.workspace.uri())
    assert "one" in catalog.search(text=colours["one"], k=4)["content_id"].to_pylist()


def test_without_fake_encoders_there_is_no_note(bare: Any, cluster: Callable[..., Any]) -> None:
    assert not any("FAKE" in note for note in bare.ingest_vectors(cluster(5)).notes)
