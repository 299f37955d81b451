"""Codebooks of residual levels: they encode vectors by search and decode codes by sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fuseid.core.errors import BadInput
from fuseid.tokenizers.residual_fsq import FSQLevel, FSQSearch
from fuseid.tokenizers.residual_search import ResidualSearch

# Rows on the device at a time while encoding; a multiple of the search's block size.
_ENCODE_ROWS = 1 << 16


class ResidualCodebooks:
    """Level l quantizes the residual of the levels before it. A code of level l is an index into codebook l; the
    decoded vector is the sum of the L codebook vectors.

    codebooks: float32 [K_l, D]. prices: float32 [K_l], added to the cost of each code in the search. beam: paths that
    encoding keeps, 1 is greedy. fsq: how the last code is found if it is a cell of a grid. id: the name of the
    tokenizer in messages.
    """

    id: str

    def __init__(
        self,
        codebooks: Sequence[np.ndarray],
        prices: Sequence[np.ndarray],
        beam: int,
        fsq: FSQLevel | None = None,
    ) -> None:
        self.codebooks = [torch.from_numpy(np.ascontiguousarray(book, dtype=np.float32)) for book in codebooks]
        self.prices = [torch.from_numpy(np.ascontiguousarray(price, dtype=np.float32)) for price in prices]
        self.codebook_sizes = tuple(len(book) for book in self.codebooks)
        self.dim = int(self.codebooks[0].shape[1])
        self.beam, self.fsq = beam, fsq
        self._searches: dict[torch.device, ResidualSearch | FSQSearch] = {}

    def encode(self, vectors_ND: np.ndarray, beam: int | None = None, device: torch.device | None = None) -> np.ndarray:
        """float32 [N, D] -> int32 [N, L], with the tokenizer's own beam unless given; ties go to the lower code.

        Raises BadInput for another D or NaN.
        """
        vectors_ND = self._checked_size(vectors_ND)
        device = device or torch.device("cpu")
        search = self._search(device)
        out = np.empty((len(vectors_ND), len(self.codebooks)), dtype=np.int32)
        for start in range(0, len(vectors_ND), _ENCODE_ROWS):
            rows = torch.from_numpy(vectors_ND[start : start + _ENCODE_ROWS]).to(device)
            out[start : start + len(rows)] = search.codes(rows, beam or self.beam).cpu().numpy()
        return out

    def candidates(self, vectors_ND: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, D] -> (codes int32 [N, C, L], squared errors float32 [N, C]), smallest error first; C is `count`,
        or as many as there are. The first is the result of `encode` or better: the beam is at least `count` wide.

        Raises BadInput for another D or NaN.
        """
        vectors_ND = self._checked_size(vectors_ND)
        vectors = torch.from_numpy(vectors_ND)
        codes = self._search(torch.device("cpu")).candidates(vectors, max(self.beam, count), count).numpy()
        decoded = self.decode(codes.reshape(-1, codes.shape[2])).reshape(*codes.shape[:2], self.dim)
        return codes.astype(np.int32), np.square(vectors_ND[:, None] - decoded).sum(2)

    def decode(self, codes_NL: np.ndarray) -> np.ndarray:
        """int [N, L'] with L' <= L (a prefix gives its coarse vector) -> float32 [N, D]."""
        codes = torch.from_numpy(np.asarray(codes_NL, dtype=np.int64))
        parts = [book[codes[:, level]] for level, book in enumerate(self.codebooks[: codes.shape[1]])]
        return torch.stack(parts).sum(0).numpy()

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the artifact."""
        tensors = {f"codebook.{level}": book.numpy() for level, book in enumerate(self.codebooks)}
        tensors |= {f"price.{level}": price.numpy() for level, price in enumerate(self.prices)}
        return tensors if self.fsq is None else tensors | self.fsq.tensors()

    def _checked_size(self, vectors_ND: np.ndarray) -> np.ndarray:
        vectors_ND = checked_vectors(vectors_ND)
        if vectors_ND.shape[1] != self.dim:
            raise BadInput(f"{self.id} quantizes vectors of {self.dim} numbers, got {vectors_ND.shape[1]}")
        return vectors_ND

    def _search(self, device: torch.device) -> ResidualSearch | FSQSearch:
        if device not in self._searches:
            books, prices = ([part.to(device) for part in parts] for parts in (self.codebooks, self.prices))
            search = ResidualSearch(books, prices) if self.fsq is None else FSQSearch(books, prices, self.fsq)
            self._searches[device] = search
        return self._searches[device]


def checked_vectors(vectors_ND: np.ndarray) -> np.ndarray:
    """float32 [N, D], contiguous. Raises BadInput for another shape, no rows, NaN or infinity."""
    vectors_ND = np.ascontiguousarray(vectors_ND, dtype=np.float32)
    if vectors_ND.ndim != 2 or not vectors_ND.size:
        raise BadInput(f"vectors must be [N, D] and not empty, got {list(vectors_ND.shape)}")
    if not np.isfinite(vectors_ND).all():
        raise BadInput("vectors hold NaN or infinite numbers; remove those rows")
    return vectors_ND
