"""Codebooks from outside: arrays in an `.npz` file, also as FAISS's ResidualQuantizer has them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuseid.core.errors import BadInput, unusable
from fuseid.core.reasons import reason

_MOST_BEAM = 64
_FORMS = "codebooks [L, K, D]; codebook_0, codebook_1, ... [K, D]; or FAISS's codebooks with nbits"


@dataclass(frozen=True)
class Codebooks:
    """books: float32 [K_l, D] for each level. beam: paths that encoding keeps, 1 is greedy."""

    books: tuple[np.ndarray, ...]
    beam: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(book) for book in self.books)

    @property
    def dim(self) -> int:
        return self.books[0].shape[1]


def read_codebooks(path: Path) -> Codebooks:
    """`codebooks` [L, K, D], or `codebook_0`, `codebook_1`, ... [K_l, D], with an optional `beam`. Or the fields of
    FAISS's ResidualQuantizer under their own names: `codebooks`, all levels one after the other in one flat array or
    as [sum of K_l, D], `nbits` [L] (K_l is 2 to the power of nbits) and optionally `max_beam_size`.

    Raises BadInput for a file that holds nothing of this, and for numbers that are not finite.
    """
    arrays = _arrays(path)
    try:
        books = _books(arrays)
        beam = int(np.asarray(arrays.get("beam", arrays.get("max_beam_size", 1))).reshape(()))
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path} holds no codebooks: {reason(error)}; it has to hold {_FORMS}") from None
    if not 1 <= beam <= _MOST_BEAM:
        raise BadInput(f"{path}: beam is {beam}, it has to be from 1 to {_MOST_BEAM}")
    for level, book in enumerate(books):
        if not np.isfinite(book).all():
            raise BadInput(f"{path}: the codebook of level {level} holds NaN or infinite numbers")
    return Codebooks(books, beam)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # numpy does not close a file of its own that it cannot read.
        with path.open("rb") as opened:
            found = np.load(opened, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            return {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise unusable(f"cannot read codebooks from {path}: {reason(error)}; an .npz holds {_FORMS}", error) from None


def _books(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    if "codebooks" not in arrays:
        parts = [arrays[f"codebook_{level}"] for level in range(len(arrays)) if f"codebook_{level}" in arrays]
    elif "nbits" in arrays:
        parts = _of_faiss(arrays["codebooks"], arrays["nbits"])
    else:
        parts = list(arrays["codebooks"]) if arrays["codebooks"].ndim == 3 else []
    if not parts:
        raise ValueError(f"its arrays are {', '.join(f'{name} {list(a.shape)}' for name, a in arrays.items())}")
    for part in parts:
        if part.ndim != 2 or not part.size or part.dtype.kind not in "fiu" or part.shape[1] != parts[0].shape[1]:
            raise ValueError(f"codebooks are of shapes {', '.join(str(list(one.shape)) for one in parts)}")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, for which the file is refused
        return tuple(np.ascontiguousarray(part, dtype=np.float32) for part in parts)


def _of_faiss(flat: np.ndarray, nbits: np.ndarray) -> list[np.ndarray]:
    """The rows of level l follow those of the levels before it, as its `codebook_offsets` say."""
    sizes = [1 << int(bits) for bits in np.atleast_1d(nbits)]
    if flat.size % sum(sizes) or (flat.ndim == 2 and len(flat) != sum(sizes)):
        raise ValueError(f"{list(flat.shape)} numbers are no codebooks of {sizes} codes")
    return np.split(flat.reshape(sum(sizes), -1), np.cumsum(sizes)[:-1])
