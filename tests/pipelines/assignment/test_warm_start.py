"""A later fit starts from an earlier tokenizer and is aligned to it, on real databases."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from fuseid.core.config import TOKENIZER_SECTIONS, RQKMeansConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.adopt import adopt
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.assignment.warm_start import Earlier
from fuseid.pipelines.fit import fit
from fuseid.tokenizers.alignment import kept
from fuseid.tokenizers.registry import TOKENIZERS, register
from fuseid.tokenizers.rq_kmeans import RQKMeans


def refit(workspace: Any, cold: bool = False, align_to: str | None = None, **tokenizer: Any) -> tuple[Any, Any]:
    """Fits again; -> the tokenizer and the run."""
    config = workspace.settings(clip=None, tokenizer=tokenizer)
    run = fit(workspace.uri(), config, cold=cold, align_to=align_to)
    return load_tokenizer(workspace.store(), run.tokenizer_id), run


def codes_of(workspace: Any, tokenizer_id: str) -> dict[str, list[int]]:
    where = f"tokenizer_id = '{tokenizer_id}'"
    rows = workspace.store().dataset("assignments").to_table(columns=["content_id", "codes"], filter=where)
    return {row["content_id"]: row["codes"] for row in rows.to_pylist()}


def kept_of(workspace: Any, earlier: str, later: str) -> Any:
    """Of all items: a tenth of them, which no fit saw, are not in the shares of `aligned_to`."""
    before, after = (codes_of(workspace, name) for name in (earlier, later))
    names = sorted(before.keys() & after.keys())
    shares = kept(np.array([before[name] for name in names]), np.array([after[name] for name in names]))
    return pytest.approx(shares, abs=0.05)


@pytest.fixture
def grown(fitted: Any, cluster: Any) -> Any:
    """The sixty items with IDs, and twenty more."""
    fitted.ingest_vectors(cluster(60) | cluster(20, seed=5, prefix="w"))
    return fitted


def test_codebooks_of_other_sizes_than_those_of_the_champion_are_noted(fitted):
    assert "codebooks of" not in "\n".join(refit(fitted, seed=7)[1].notes)
    notes = "\n".join(refit(fitted, codebook_sizes=[5, 3])[1].notes)
    assert "has codebooks of 4, 3 codes, this fit of 5, 3; with the same tokenizer.codebook_sizes more items" in notes


def test_a_later_fit_starts_from_the_champion_and_keeps_its_codes(grown):
    champion, ids = grown.store().setting("champion"), grown.ids()
    assert "aligned_to" not in load_tokenizer(grown.store(), champion).meta
    later, run = refit(grown)
    to = later.meta["aligned_to"]
    assert (to["tokenizer"], to["start"], run.role) == (champion, "codebooks", "candidate")
    assert to["kept"] == kept_of(grown, champion, later.id)
    assert to["kept"][0] >= 0.9
    assert f"aligned to {champion}, started from its codebooks: sampled items" in "\n".join(run.notes)
    assert grown.ids() == ids
    again, run = refit(grown)
    assert (again.id, run.counts["assigned"]) == (later.id, 0)


def test_a_cold_fit_is_what_the_first_fit_was(fitted):
    champion = fitted.store().setting("champion")
    cold, run = refit(fitted, cold=True)
    assert cold.id == champion
    assert not any("aligned" in note for note in run.notes)
    other, _ = refit(fitted, cold=True, seed=7)
    assert "aligned_to" not in other.meta
    assert refit(fitted, seed=7)[0].meta["aligned_to"]["kept"] > kept_of(fitted, champion, other.id).expected


def test_another_tokenizer_can_be_named_by_the_beginning_of_its_id(grown):
    cold, _ = refit(grown, cold=True, seed=7)
    later, _ = refit(grown, align_to=cold.id[:-8], seed=3)
    assert later.meta["aligned_to"]["tokenizer"] == cold.id
    assert later.meta["aligned_to"]["kept"] == kept_of(grown, cold.id, later.id)
    assert later.meta["aligned_to"]["kept"][0] >= 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"align_to": "rq-means-00"}, "has no tokenizer 'rq-means-00'; there are rq-kmeans-"),
        ({"cold": True, "align_to": "rq-kmeans-00"}, "cold=True and align_to= exclude each other"),
    ],
)
def test_what_cannot_be_aligned_to_is_refused_and_nothing_is_fitted(fitted, options, said):
    before = fitted.store().tokenizers()
    with pytest.raises(BadInput, match=said) as caught:
        refit(fitted, **options)
    assert "\n" not in str(caught.value)
    assert fitted.store().tokenizers() == before


def test_a_tokenizer_without_ids_cannot_be_aligned_to(fitted):
    generator = np.random.default_rng(0)
    other = RQKMeans.fit(generator.normal(size=(50, 8)).astype(np.float32), (4, 3))
    fitted.store().put_artifact(other)
    with pytest.raises(NotReady, match=f"no sampled item of .* has an ID of {other.id}, .*fuseid assign"):
        refit(fitted, align_to=other.id)


def test_a_champion_that_no_item_has_an_id_of_is_no_start(bare, cluster, tmp_path):
    bare.ingest_vectors(cluster(60))
    (tmp_path / "ids.csv").write_text("\n".join(["content_id,sid", *(f"{name},1-2" for name in cluster(60))]))
    champion = adopt(bare.uri(), tmp_path / "ids.csv", bare.settings(clip=None)).tokenizer_id
    config = bare.settings(clip=None, run={"max_prune": "100%"})
    bare.ingest_vectors(cluster(60, seed=5, prefix="w"), config=config, prune=True)
    first, run = refit(bare)
    assert f"fitted cold: no sampled item of {bare.uri()} has an ID of {champion}" in run.notes
    assert "aligned_to" not in first.meta


@pytest.mark.parametrize("sizes", [(6, 3), (3, 2), (4,), (4, 3, 2)])
def test_other_sizes_and_numbers_of_levels_start_from_what_there_is(grown, sizes):
    champion = grown.store().setting("champion")
    later, _ = refit(grown, codebook_sizes=sizes)
    to = later.meta["aligned_to"]
    assert (later.codebook_sizes, to["start"], len(to["kept"])) == (sizes, "codebooks", min(2, len(sizes)))
    assert to["kept"] == kept_of(grown, champion, later.id)
    assert to["kept"][0] >= 0.6
    assert later.meta["metrics"]["r2_per_level"][0] > 0.4
    assert later.meta["metrics"]["utilisation_per_level"] == [1.0] * len(sizes)


def test_in_the_space_of_another_fusion_the_start_is_made_of_the_codes(grown):
    """With vectors that are the old ones, turned and shortened: as a new fusion makes them."""
    store, config = grown.store(), grown.settings().tokenizer
    table = store.dataset("contents").to_table(columns=["content_id", "fused"]).sort_by("content_id")
    ids = table["content_id"].combine_chunks()
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0][:, :6]
    vectors = (np.array(table["fused"].to_pylist()) @ turned).astype(np.float32)
    earlier = Earlier.of(store, store.setting("champion"), ids, config, "fusion-00")
    assert earlier.tokenizer is None
    starts: list[Any] = []

    def fitted(start: Any = None) -> RQKMeans:
        starts.append(start)
        return RQKMeans.fit(vectors, (4, 3), seed=9, start=start)

    notes: list[str] = []
    aligned = earlier.refitted(fitted, RQKMeans, vectors, (4, 3), 0, notes)
    assert starts[0].codebooks[0].shape == (4, 6)
    assert aligned.meta["aligned_to"]["kept"][0] >= 0.9
    assert "started from its codes" in notes[0]

    # A cold fit that is better is aligned in its place.
    cold = RQKMeans.fit(vectors, (4, 3), seed=9)
    lost = cold.meta["metrics"]["r2_per_level"][-1] - aligned.meta["metrics"]["r2_per_level"][-1]
    for most, start in ((lost, "codes"), (lost - 0.01, None)):
        found = earlier.refitted(fitted, RQKMeans, vectors, (4, 3), 0, notes, most)
        assert found.meta["aligned_to"]["start"] == start
    assert found.meta["metrics"]["r2_per_level"] == cold.meta["metrics"]["r2_per_level"]
    assert f"the codes of {earlier.id} are no start: R² would be" in notes[-2]


def test_after_another_fusion_the_fit_starts_from_the_codes_of_the_champion(grown):
    champion, ids = grown.store().setting("champion"), grown.ids()
    run = fit(grown.uri(), grown.settings(clip=None, fusion={"dim": 6}), refit_fusion=True)
    later = load_tokenizer(grown.store(), run.tokenizer_id)
    to = later.meta["aligned_to"]
    assert later.meta["fusion"] != load_tokenizer(grown.store(), champion).meta["fusion"]
    assert (later.dim, to["tokenizer"], to["start"]) == (6, champion, "codes")
    assert to["kept"] == kept_of(grown, champion, later.id)
    assert to["kept"][0] >= 0.9
    assert grown.ids() == ids


@pytest.mark.parametrize("with_codebooks", [False, True])
def test_adopted_ids_are_aligned_to_by_their_codes(bare, cluster, tmp_path, with_codebooks):
    vectors = cluster(60)
    bare.ingest_vectors(vectors)
    rows = np.array([*vectors.values()])
    source = RQKMeans.fit(rows, (5, 3), seed=1)
    codes = source.encode(rows)
    table = tmp_path / "ids.csv"
    lines = [f"{name},{first}-{second}" for name, (first, second) in zip(vectors, codes.tolist(), strict=True)]
    table.write_text("\n".join(["content_id,sid", *lines]))
    options: dict[str, Any] = {}
    if with_codebooks:
        np.savez(tmp_path / "books.npz", **{f"codebook_{n}": book.numpy() for n, book in enumerate(source.codebooks)})
        options = {"codebooks": tmp_path / "books.npz", "space": "external"}
    run = adopt(bare.uri(), table, bare.settings(clip=None), **options)
    later, _ = refit(bare, codebook_sizes=(5, 3))
    to = later.meta["aligned_to"]
    assert (to["tokenizer"], to["start"]) == (run.tokenizer_id, "codes")
    assert to["kept"] == kept_of(bare, run.tokenizer_id, later.id)
    assert to["kept"][0] >= 0.9


class Renumbered(RQKMeans):
    """A kind of its own that can be aligned and has no start."""

    KIND: ClassVar[str] = "renumbered"
    start_from = None  # type: ignore[assignment]

    def permuted(self, numbers, aligned_to):
        other = super().permuted(numbers, aligned_to)
        return type(self)(other.meta, [b.numpy() for b in other.codebooks], [p.numpy() for p in other.prices])


class Plain(RQKMeans):
    """One that can be neither."""

    KIND: ClassVar[str] = "plain"
    start_from = permuted = None  # type: ignore[assignment]


class RenumberedConfig(RQKMeansConfig):
    kind: Literal["renumbered"] = "renumbered"  # type: ignore[assignment]


class PlainConfig(RQKMeansConfig):
    kind: Literal["plain"] = "plain"  # type: ignore[assignment]


@pytest.fixture
def kinds() -> Any:
    register(Renumbered, RenumberedConfig)
    register(Plain, PlainConfig)
    yield
    for kind in (Renumbered.KIND, Plain.KIND):
        del TOKENIZERS[kind], TOKENIZER_SECTIONS[kind]


def test_another_kind_is_aligned_after_a_cold_fit(kinds, grown):
    champion = grown.store().setting("champion")
    later, run = refit(grown, kind="renumbered", seed=4)
    assert later.meta["aligned_to"] == {
        "tokenizer": champion, "start": None, "kept": kept_of(grown, champion, later.id)
    }  # fmt: skip
    assert f"aligned to {champion}, started cold: sampled items" in "\n".join(run.notes)
    cold, _ = refit(grown, cold=True, kind="renumbered", seed=4)
    assert cold.meta["metrics"]["r2_per_level"] == later.meta["metrics"]["r2_per_level"]
    assert later.meta["aligned_to"]["kept"] > kept_of(grown, champion, cold.id).expected
    # Back to a kind that can start from codebooks: those of another kind are none.
    back, _ = refit(grown, align_to=later.id, seed=5)
    assert back.meta["aligned_to"]["start"] is None


def test_a_kind_that_cannot_be_renumbered_is_fitted_cold(kinds, grown):
    later, run = refit(grown, kind="plain")
    assert "aligned_to" not in later.meta
    reason = "tokenizers of kind plain cannot be aligned to others: they have no method `permuted`"
    assert f"fitted cold: {reason}" in run.notes
    with pytest.raises(BadInput, match=reason):
        refit(grown, kind="plain", align_to=grown.store().setting("champion"))
    # It can be aligned to all the same.
    assert refit(grown, align_to=later.id, seed=5)[0].meta["aligned_to"]["tokenizer"] == later.id
