"""Tokenizers of other kinds than the default in every job and every reader: one of a kind that fuseid does not have,
registered here, and those that it has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

from fuseid.apps.report_page import write_report_page
from fuseid.core.artifacts import artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.config import TOKENIZER_SECTIONS, Config, TokenizerConfig, load_config
from fuseid.core.errors import ArtifactError, BadInput, ConfigError
from fuseid.core.records import SemanticId
from fuseid.pipelines.assign import assign
from fuseid.pipelines.assignment.champion import load_tokenizer
from fuseid.pipelines.exports.ids import export_ids
from fuseid.pipelines.exports.registry import FORMATS
from fuseid.pipelines.fit import fit
from fuseid.pipelines.promote import promote
from fuseid.pipelines.reports.document import report
from fuseid.tokenizers.registry import TOKENIZERS, register


class BinsConfig(TokenizerConfig):
    VERSION = 1

    kind: Literal["bins"] = "bins"
    spread: float = 1.0


class Bins:
    """Level l cuts one dimension, that of the l-th largest variance, into bins of equally many vectors."""

    KIND: ClassVar[str] = "bins"

    def __init__(self, meta: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self.meta, self._tensors = meta, tensors
        self._mean_D, self._dims_L = tensors["mean"], tensors["dims"]
        self.codebook_sizes = tuple(meta["codebook_sizes"])
        self.dim = len(self._mean_D)
        self._centres = [tensors[f"centres.{level}"] for level in range(len(self.codebook_sizes))]
        self.id = artifact_id(self.KIND, meta, tensors)

    @classmethod
    def fit(
        cls,
        vectors_ND: np.ndarray,
        codebook_sizes: Sequence[int],
        *,
        seed: int,
        fusion: str | None,
        progress: Callable[[int, int], None],
        spread: float,
    ) -> Bins:
        progress(0, 1)
        dims = np.argsort(-vectors_ND.var(0), kind="stable")[: len(codebook_sizes)].astype(np.int32)
        tensors = {"mean": vectors_ND.mean(0), "dims": dims}
        for level, (dim, size) in enumerate(zip(dims, codebook_sizes, strict=True)):
            shares = 0.5 + (np.arange(size) + 0.5 - size / 2) / size * spread
            tensors[f"centres.{level}"] = np.quantile(vectors_ND[:, dim], shares).astype(np.float32)
        meta = {"version": BinsConfig.VERSION, "codebook_sizes": list(codebook_sizes), "fusion": fusion,
                "seed": seed, "spread": spread, "metrics": {}}  # fmt: skip
        fitted, total = cls(meta, tensors), float(np.square(vectors_ND - vectors_ND.mean(0)).sum())
        codes = fitted.encode(vectors_ND)
        meta["metrics"]["r2_per_level"] = [
            1 - float(np.square(vectors_ND - fitted.decode(codes[:, :level])).sum()) / total
            for level in range(1, len(codebook_sizes) + 1)
        ]
        progress(1, 1)
        return fitted

    def encode(self, vectors_ND: np.ndarray) -> np.ndarray:
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(f"{self.id} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}")
        levels = zip(self._dims_L, self._centres, strict=True)
        return np.stack(
            [np.abs(vectors_ND[:, dim, None] - centres).argmin(1) for dim, centres in levels], axis=1
        ).astype(np.int32)

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        out_ND = np.repeat(self._mean_D[None], len(codes_NL), axis=0)
        for level in range(codes_NL.shape[1]):
            out_ND[:, self._dims_L[level]] = self._centres[level][codes_NL[:, level]]
        return out_ND

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        every_CL = np.array(list(itertools.product(*map(range, self.codebook_sizes))), dtype=np.int32)
        errors_NC = np.square(vectors_ND[:, None] - self.decode(every_CL)[None]).sum(2)
        order_NC = np.argsort(errors_NC, axis=1, kind="stable")[:, :count]
        return every_CL[order_NC], np.take_along_axis(errors_NC, order_NC, axis=1)

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self._tensors)

    @classmethod
    def load(cls, directory: Path) -> Bins:
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        return cls(meta, tensors)


@pytest.fixture
def bins() -> Any:
    register(Bins, BinsConfig)
    yield
    del TOKENIZERS[Bins.KIND], TOKENIZER_SECTIONS[Bins.KIND]


def config(**tokenizer: Any) -> Config:
    keys = {"codebook_sizes": [4, 3, 2], **tokenizer}
    return Config.model_validate({"clip": None, "fusion": {"dim": 16}, "tokenizer": keys})


KINDS = [{"kind": "bins", "spread": 0.9}, {"kind": "rq-vae", "hidden": 8, "epochs": 2, "refinements": 2}]


@pytest.mark.parametrize("collisions", ["suffix", "reassign"])
@pytest.mark.parametrize("keys", KINDS, ids=lambda keys: keys["kind"])
def test_a_kind_goes_through_every_job_and_every_reader(bins, bare, cluster, tmp_path, keys, collisions):
    chosen = config(**keys, collisions=collisions)
    uri = bare.uri()
    bare.ingest_vectors(cluster(60), config=chosen)
    run = fit(uri, chosen)
    champion = bare.store().setting("champion")
    assert champion.startswith(f"{keys['kind']}-")
    assert (run.counts["assigned"], run.notes[-1].startswith("R² by level")) == (60, True)
    first = bare.ids()
    assert len(set(first.values())) == 60

    # A later ingest gives IDs by it, and assign finds nothing left to do.
    later = bare.ingest_vectors({**cluster(60), **cluster(20, seed=1, prefix="new")}, config=chosen)
    assert (later.counts["assigned"], later.drift["tokenizer_id"]) == (20, champion)
    assert assign(uri, chosen).counts["assigned"] == 0
    given = bare.ids()
    assert {name: given[name] for name in first} == first

    # A candidate of a kind that fuseid has, and both ways of a promotion.
    fit(uri, config(iterations=5))
    candidate = bare.candidate()
    assert candidate.startswith("rq-kmeans-")
    promote(uri, candidate, chosen)
    assert bare.ids() == bare.ledger(candidate) != given
    promote(uri, champion, chosen)
    assert bare.ids() == given

    for name in FORMATS:
        manifest = export_ids(uri, tmp_path / name, name)
        assert (manifest["tokenizer_id"], manifest["items"]) == (champion, 80)
    exported = [row for path in (tmp_path / "parquet").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["content_id"]: row["sid"] for row in exported} == given
    again = export_ids(uri, tmp_path / "again", manifest=tmp_path / "grid" / "manifest.json")
    assert again["files"] == export_ids(uri, tmp_path / "third", "grid")["files"]

    document = report(uri, sample=80, queries=20, compare=candidate)
    assert [column["id"] for column in document["tokenizers"]] == [champion, candidate]
    assert len(document["tokenizers"][0]["history"]) == (keys["epochs"] + 1 if "epochs" in keys else 0)
    write_report_page(document, tmp_path / "page.html")

    catalog = bare.catalog()
    prefix = str(SemanticId.parse(given["v000"]).codes[0])
    found = catalog.search(sid=prefix, k=100)["content_id"].to_pylist()
    assert set(found) == {name for name, sid in given.items() if sid.split("-")[0] == prefix}
    assert catalog.search(like="v000", k=3).num_rows == 3


def test_the_id_is_known_when_the_object_is_made_and_kept_by_the_store(bins, bare, cluster):
    bare.ingest_vectors(cluster(60))
    fit(bare.uri(), config(kind="bins"))
    store = bare.store()
    champion = store.setting("champion")
    tokenizer = load_tokenizer(store, champion)
    assert isinstance(tokenizer, Bins)
    assert tokenizer.id == champion == artifact_id("bins", tokenizer.meta, tokenizer._tensors)
    assert store.describe_tokenizer(champion).meta == tokenizer.meta


def test_without_the_registration_its_database_is_refused_with_the_kinds_that_there_are(bins, bare, cluster):
    bare.ingest_vectors(cluster(60))
    fit(bare.uri(), config(kind="bins"))
    champion = bare.store().setting("champion")
    cls, section = TOKENIZERS.pop("bins"), TOKENIZER_SECTIONS.pop("bins")
    try:
        with pytest.raises(ArtifactError, match=rf"'{champion}' is not a tokenizer's id; the kinds are rq-kmeans"):
            assign(bare.uri(), config())
    finally:
        TOKENIZERS["bins"], TOKENIZER_SECTIONS["bins"] = cls, section


def test_a_kind_is_registered_once(bins):
    with pytest.raises(ValueError, match="bins is registered already"):
        register(Bins, BinsConfig)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("kind: bins, beam: 3", "tokenizer.beam is 3; this is a key of kind rq-kmeans and rq-vae, not of bins"),
        ("spread: 0.5", "tokenizer.spread is 0.5; this is a key of kind bins, not of rq-kmeans"),
        ("kind: bin", 'tokenizer.kind is "bin"; no kind has this name .did you mean bins.*; there are rq-kmeans'),
        (
            "kind: bins, spred: 1",
            "tokenizer.spred is no key .did you mean spread.*; known keys of tokenizer: alternatives, .* seed, spread",
        ),
    ],
)
def test_a_key_of_another_kind_is_refused_by_name(bins, tmp_path, keys, problem):
    path = tmp_path / "fuseid.yaml"
    path.write_text(f"tokenizer: {{{keys}}}")
    with pytest.raises(ConfigError, match=problem):
        load_config(path)


def test_the_keys_of_a_kind_are_kept_in_the_configuration_of_a_run(bins):
    chosen = config(kind="bins", spread=0.25)
    assert Config.model_validate_json(chosen.model_dump_json()) == chosen
    assert chosen.tokenizer.options() == {"spread": 0.25}
