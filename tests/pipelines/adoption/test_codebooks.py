"""Codebooks from an `.npz`: three forms, and what is refused in one line."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.adoption.codebooks import read_codebooks
from fuseid.tokenizers.adopted import Adopted

BOOKS = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "books.npz", **arrays)
    return tmp_path / "books.npz"


@pytest.mark.parametrize(
    "arrays",
    [
        {"codebooks": BOOKS},
        {f"codebook_{level}": book.astype(np.float64) for level, book in enumerate(BOOKS)},
        {"codebooks": BOOKS.reshape(-1), "nbits": np.array([2, 2, 2]), "codebook_offsets": np.array([0, 4, 8, 12])},
        {"codebooks": BOOKS.reshape(12, 5), "nbits": np.array([2, 2, 2])},
    ],
    ids=["one array", "an array a level", "FAISS, flat", "FAISS, rows"],
)
def test_every_form_gives_the_same_codebooks(tmp_path, arrays):
    found = read_codebooks(saved(tmp_path, **arrays))
    assert (np.stack(found.books) == BOOKS).all()
    assert (found.sizes, found.dim, found.beam) == ((4, 4, 4), 5, 1)
    assert all(book.dtype == np.float32 for book in found.books)


def test_levels_may_have_different_sizes(tmp_path):
    path = saved(tmp_path, codebook_0=np.ones((4, 3)), codebook_1=np.ones((2, 3)), beam=np.int64(7))
    found = read_codebooks(path)
    assert (found.sizes, found.beam) == ((4, 2), 7)


def test_codes_are_those_of_faiss_with_its_arrays_and_its_beam(tmp_path):
    vectors = np.random.default_rng(1).standard_normal((2000, 8)).astype(np.float32)
    quantizer = faiss.ResidualQuantizer(8, 3, 4)
    quantizer.train(vectors)
    path = saved(
        tmp_path, codebooks=faiss.vector_to_array(quantizer.codebooks), nbits=faiss.vector_to_array(quantizer.nbits),
        codebook_offsets=faiss.vector_to_array(quantizer.codebook_offsets), max_beam_size=quantizer.max_beam_size,
    )  # fmt: skip
    found = read_codebooks(path)
    assert found.beam == quantizer.max_beam_size > 1
    packed = faiss.unpack_bitstrings(quantizer.compute_codes(vectors), faiss.vector_to_array(quantizer.nbits))
    tokenizer = Adopted.of(found.sizes, {"count": 1, "digest": ""}, found.books, found.beam)
    assert (tokenizer.encode(vectors) == packed).all(1).mean() > 0.99
    assert np.allclose(tokenizer.decode(packed), quantizer.decode(quantizer.compute_codes(vectors)), atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"other": np.ones(3)}, r"its arrays are other \[3\]"),
        ({"codebooks": np.ones((4, 3))}, "holds no codebooks"),
        ({"codebook_0": np.ones((4, 3)), "codebook_1": np.ones((4, 2))}, r"shapes \[4, 3\], \[4, 2\]"),
        ({"codebooks": np.ones((2, 4, 0))}, "holds no codebooks"),
        ({"codebooks": np.array([[["a"]]])}, "holds no codebooks"),
        ({"codebooks": np.ones(31), "nbits": np.array([2, 2, 2])}, r"\[31\] numbers are no codebooks of \[4, 4, 4\]"),
        ({"codebooks": BOOKS, "beam": np.array([1, 2])}, "holds no codebooks"),
        ({"codebooks": BOOKS, "beam": 0}, "beam is 0"),
        ({"codebooks": np.where(BOOKS[1, 2, 3] == BOOKS, np.nan, BOOKS)}, "codebook of level 1 holds NaN"),
        ({"codebooks": BOOKS.astype(np.float64) * 1e39}, "codebook of level 0 holds NaN or infinite"),
        ({"codebooks": np.array([None, 1], dtype=object)}, "cannot read codebooks"),
    ],
)
def test_what_holds_no_codebooks_is_refused_in_one_line(tmp_path, arrays, problem):
    path = saved(tmp_path, **arrays)
    with pytest.raises(BadInput, match=problem) as caught:
        read_codebooks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_npz_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "books.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot read codebooks") as caught:
        read_codebooks(path)
    assert "\n" not in str(caught.value)
    np.save(tmp_path / "one.npy", BOOKS)
    with pytest.raises(BadInput, match="single array"):
        read_codebooks(tmp_path / "one.npy")
