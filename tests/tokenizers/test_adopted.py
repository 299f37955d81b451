"""Adopted IDs: with codebooks a tokenizer like others, without them one that says so."""

from __future__ import annotations

import numpy as np
import pytest

from fuseid.core.artifacts import encodes, is_tokenizer
from fuseid.core.config import TOKENIZER_SECTIONS
from fuseid.core.errors import ArtifactError, BadInput
from fuseid.tokenizers.adopted import Adopted
from fuseid.tokenizers.registry import TOKENIZERS, class_of, register
from fuseid.tokenizers.rq_kmeans import RQKMeans

IDS = {"count": 3, "digest": "00ff"}


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(vectors: np.ndarray) -> RQKMeans:
    return RQKMeans.fit(vectors, (8, 4), beam=1)


def adopted(fitted: RQKMeans, **changes) -> Adopted:
    given = {"ids": IDS, "codebooks": [book.numpy() for book in fitted.codebooks], "fusion": "fusion-00", **changes}
    return Adopted.of((8, 4), **given)


@pytest.mark.parametrize("beam", [1, 5])
def test_the_codebooks_encode_and_decode_as_those_of_the_system_that_learned_them(fitted, vectors, beam):
    tokenizer = adopted(fitted, beam=beam)
    codes = fitted.encode(vectors, beam=beam)
    assert (tokenizer.encode(vectors) == codes).all()
    for depth in (1, 2):
        assert (tokenizer.decode(codes[:, :depth]) == fitted.decode(codes[:, :depth])).all()
    found, errors = tokenizer.candidates(vectors[:9], 6)
    assert found.shape == (9, 6, 2)
    assert (np.diff(errors, axis=1) >= -1e-5).all()


def test_greedy_codes_are_those_of_the_nearest_residuals(fitted, vectors):
    left, expected = vectors.astype(np.float64), []
    for book in fitted.codebooks:
        expected.append(np.square(left[:, None] - book.numpy()).sum(2).argmin(1))
        left = left - book.numpy()[expected[-1]]
    assert (adopted(fitted).encode(vectors) == np.stack(expected, axis=1)).mean() > 0.99


def test_the_id_depends_on_ids_sizes_codebooks_and_fusion_and_not_on_metrics(fitted):
    one = adopted(fitted)
    other_books = [book.numpy() + 1 for book in fitted.codebooks]
    others = [
        adopted(fitted, ids={**IDS, "digest": "00fe"}), adopted(fitted, fusion="fusion-01"), adopted(fitted, beam=2),
        adopted(fitted, codebooks=other_books), Adopted.of((8, 4), IDS), Adopted.of((8, 5), IDS),
    ]  # fmt: skip
    assert len({one.id, *(other.id for other in others)}) == 1 + len(others)
    one.meta["metrics"]["agreement"] = 0.5
    assert one.id == adopted(fitted).id
    assert all(is_tokenizer(name) and name.startswith("adopted-") for name in (one.id, others[0].id))


@pytest.mark.parametrize("with_codebooks", [True, False])
def test_a_saved_tokenizer_is_loaded_as_it_was(fitted, vectors, tmp_path, with_codebooks):
    tokenizer = adopted(fitted) if with_codebooks else Adopted.of((8, 4), IDS)
    tokenizer.save(tmp_path / "artifact")
    loaded = class_of("adopted").load(tmp_path / "artifact")
    assert (loaded.id, loaded.meta, loaded.codebook_sizes) == (tokenizer.id, tokenizer.meta, (8, 4))
    assert encodes(loaded) == with_codebooks
    if with_codebooks:
        assert (loaded.encode(vectors) == tokenizer.encode(vectors)).all()
    path = tmp_path / "artifact" / "artifact.json"
    path.write_text(path.read_text().replace("00ff", "00fe"))
    with pytest.raises(ArtifactError, match="altered"):
        Adopted.load(tmp_path / "artifact")


def test_without_codebooks_nothing_is_encoded_and_the_line_names_the_remedy(vectors):
    tokenizer = Adopted.of((8, 4), IDS)
    calls = (
        lambda: tokenizer.encode(vectors),
        lambda: tokenizer.decode(np.zeros((1, 2))),
        lambda: tokenizer.candidates(vectors, 2),
    )
    for call in calls:
        with pytest.raises(BadInput, match=rf"{tokenizer.id} came without codebooks, .*codebooks="):
            call()


def test_vectors_of_another_size_are_refused_by_the_id(fitted):
    tokenizer = adopted(fitted)
    with pytest.raises(BadInput, match=rf"{tokenizer.id} quantizes vectors of 6 numbers, got 5"):
        tokenizer.encode(np.ones((2, 5), np.float32))


def test_it_is_no_kind_of_the_config_and_no_other_kind_can_have_its_name():
    assert TOKENIZERS.keys() == TOKENIZER_SECTIONS.keys()
    assert "adopted" not in TOKENIZERS
    with pytest.raises(ValueError, match="adopted is registered already"):
        register(Adopted, TOKENIZER_SECTIONS["rq-kmeans"])
