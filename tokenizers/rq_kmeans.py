"""RQ-KMeans: residual quantization with one k-means codebook per level (Chen et al. 2010; QARM, Luo et al. 2024, 3.2).
Then all codebooks are fitted together to the codes that a beam search finds (Babenko and Lempitsky 2014). The last
level can be a learned FSQ in place of k-means (OneMall, arXiv 2601.21770), so that fewer items share their codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from fuseid.core.artifacts import artifact_id, check_version, read_artifact, write_artifact
from fuseid.core.config import RQKMeansConfig
from fuseid.core.errors import BadInput
from fuseid.core.protocols import Tokenizer
from fuseid.core.row_blocks import ArrayBlocks, Block, Blocks, as_blocks, summed
from fuseid.core.surface import setting
from fuseid.tokenizers.block_codes import BeamCodes, BlockCodes, GreedyCodes
from fuseid.tokenizers.code_prices import raised_prices
from fuseid.tokenizers.fit_checks import checked_mean
from fuseid.tokenizers.fsq_grid import Grid
from fuseid.tokenizers.fsq_training import FSQSettings, check_entropy, learned
from fuseid.tokenizers.kmeans import SAMPLE_ROWS_PER_CODE, FitLevel, kmeans
from fuseid.tokenizers.least_squares import refined
from fuseid.tokenizers.residual_codebooks import ResidualCodebooks
from fuseid.tokenizers.residual_fsq import FSQCodes, FSQLevel
from fuseid.tokenizers.residual_start import ResidualStart, adapted

_SETTLING_ROUNDS = 20
# Rounds of a fit with a start, beside its refinements. After 50% new items, R^2 of held-out items is 0.005 lower after
# one round than after a cold fit, 0.001 lower after two, 0.001 higher after three.
_START_ROUNDS = 2
# The share of the variance below which no code is needed, so that none has to be used.
_NOTHING_LEFT = 1e-9


class RQKMeans(ResidualCodebooks):
    """Codebooks that are learned from a sample.

    meta has `fusion` (the id of the fusion whose vectors it was fitted on, or None), the settings and metrics; `last`
    only if that is fsq. fsq: the last level then.
    """

    KIND: ClassVar[str] = "rq-kmeans"
    FITS_BLOCKS: ClassVar[bool] = True

    def __init__(
        self,
        meta: dict[str, Any],
        codebooks: Sequence[np.ndarray],
        prices: Sequence[np.ndarray],
        fsq: FSQLevel | None = None,
    ) -> None:
        super().__init__(codebooks, prices, meta["beam"], fsq)
        self.meta = meta
        self.id = artifact_id(self.KIND, meta, self.tensors())

    @classmethod
    def fit(
        cls,
        vectors: np.ndarray | Blocks,
        codebook_sizes: Sequence[int],
        *,
        iterations: int = 10,
        beam: int = 5,
        refinements: int = 1,
        balanced: bool = False,
        last: Literal["kmeans", "fsq"] = "kmeans",
        fsq_levels: Sequence[int] | None = None,
        fsq_epochs: int = 12,
        fsq_repulsion: float = 0.15,
        seed: int = 0,
        fusion: str | None = None,
        start: ResidualStart | None = None,
        device: torch.device | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> RQKMeans:
        """Learns one codebook per level, then fits all of them together `refinements` times.

        vectors: float32 [N, D], finite; blocks are read in passes, and nothing of the size of N is kept here. On the
        CPU the result has the same bits whoever works on the blocks. beam: paths that encoding keeps, 1 is greedy;
        stored in the artifact. balanced: prices give every code of a level about equally many vectors. last: `fsq` is
        learned after the levels before it; fsq_levels: the levels of its dimensions, by default two each; fsq_epochs,
        fsq_repulsion: see `fsq_training`. progress is called with (steps done, steps), first with 0 done. start: of a
        later fit, see `start_from`; instead of k-means, its codebooks are fitted together twice more. Raises BadInput
        for vectors that are not finite and for levels that do not fit, NotReady for fewer distinct vectors than codes
        at a level, and FitFailed if a learned level diverges or collapses.
        """
        grid = _grid(codebook_sizes, fsq_levels) if last == "fsq" else None
        sizes = codebook_sizes if grid is None else codebook_sizes[:-1]
        blocks = as_blocks(vectors)
        mean_D = checked_mean(blocks, max(codebook_sizes))
        sample = ArrayBlocks(blocks.sample(SAMPLE_ROWS_PER_CODE * max(codebook_sizes)))
        device = device or torch.device("cpu")
        generator = torch.Generator().manual_seed(seed)
        rounds_of_all = refinements + (len(sizes) if start is None else _START_ROUNDS)
        steps = rounds_of_all + (grid is not None)
        if progress:
            progress(0, steps)

        def fit_level(before: GreedyCodes, size: int, start: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
            rest: dict[str, Any] = {"before": before, "sample": sample, "device": device}
            return kmeans(blocks, size, iterations, generator, balanced, start, **rest)

        if start is None:
            rounds = _level_by_level(blocks, fit_level, sizes, beam, refinements)
        else:
            books, prices = start.books(fit_level, sizes, balanced, device)
            rounds = adapted(blocks, books, prices, beam, rounds_of_all)
        for done, found in enumerate(rounds, 1):
            books, prices = found
            if progress:
                progress(done, steps)
        if balanced:
            prices = _settled(sample, books, prices, beam, mean_D)
        codes: BlockCodes = BeamCodes(tuple(books), tuple(prices), beam)
        level = None
        if grid is not None:
            variance = _Use.of(blocks, codes, mean_D).variance / blocks.rows
            settings = FSQSettings(grid, fsq_epochs, fsq_repulsion, seed)
            book, level = learned(blocks, codes, variance, settings)
            books, prices = [*books, book], [*prices, book.new_zeros(len(book))]
            codes = FSQCodes(tuple(books), tuple(prices), beam, level)
            if progress:
                progress(steps, steps)
        use = _Use.of(blocks, codes, mean_D)
        if level is not None and use.errors[-2] > _NOTHING_LEFT * use.variance:
            check_entropy(use.counts[-1], len(sizes) + 1, ("fsq_repulsion", "fsq_epochs", "fsq_levels"))
        meta = {
            "version": RQKMeansConfig.VERSION,
            "codebook_sizes": [int(size) for size in codebook_sizes],
            "iterations": iterations,
            "beam": beam,
            "refinements": refinements,
            "balanced": balanced,
            "seed": seed,
            "fusion": fusion,
            "metrics": {"sample": blocks.rows} | use.metrics(),
        }
        if grid is not None:
            levels = {"fsq_levels": list(grid.levels), "fsq_epochs": fsq_epochs, "fsq_repulsion": fsq_repulsion}
            meta |= {"last": "fsq", **levels}
        return cls(meta, [book.cpu().numpy() for book in books], [price.cpu().numpy() for price in prices], level)

    @classmethod
    def start_from(
        cls, earlier: Tokenizer | None, vectors_ND: np.ndarray, codes_NL: np.ndarray, codebook_sizes: Sequence[int]
    ) -> ResidualStart | None:
        """See `core.protocols.WarmTokenizer`. From the earlier codebooks where they are of this kind, otherwise from
        the codes."""
        if isinstance(earlier, RQKMeans):
            return ResidualStart([book.numpy() for book in earlier.codebooks], [p.numpy() for p in earlier.prices])
        return ResidualStart.from_codes(vectors_ND, codes_NL, codebook_sizes)

    def permuted(self, numbers: Sequence[np.ndarray], aligned_to: dict[str, Any]) -> RQKMeans:
        """See `core.protocols.AlignableTokenizer`."""
        places = [np.argsort(numbers_K) for numbers_K in numbers]
        books = [book.numpy()[place] for book, place in zip(self.codebooks, places, strict=True)]
        prices = [price.numpy()[place] for price, place in zip(self.prices, places, strict=True)]
        fsq = None if self.fsq is None else self.fsq.permuted(places[-1])
        return RQKMeans({**self.meta, "aligned_to": aligned_to}, books, prices, fsq)

    def save(self, directory: Path) -> None:
        write_artifact(directory, self.KIND, self.meta, self.tensors())

    @classmethod
    def load(cls, directory: Path) -> RQKMeans:
        """Raises ArtifactError for an artifact that is missing, altered, or of another version."""
        name, meta, tensors = read_artifact(directory, cls.KIND)
        check_version(name, cls.KIND, meta)
        levels = range(len(meta["codebook_sizes"]))
        fsq = FSQLevel.of_tensors(meta["fsq_levels"], tensors) if meta.get("last") == "fsq" else None
        return cls(meta, [tensors[f"codebook.{n}"] for n in levels], [tensors[f"price.{n}"] for n in levels], fsq)


def _grid(codebook_sizes: Sequence[int], levels: Sequence[int] | None) -> Grid:
    if len(codebook_sizes) < 2:
        raise BadInput(
            f"{setting('tokenizer.last')}: fsq follows other levels, so {setting('tokenizer.codebook_sizes')} needs at "
            "least two; kind fsq needs no others"
        )
    return Grid(codebook_sizes[-1], levels)


def _level_by_level(
    blocks: Blocks, fit_level: FitLevel, sizes: Sequence[int], beam: int, refinements: int
) -> Iterator[tuple[list[torch.Tensor], list[torch.Tensor]]]:
    """Codebooks and prices after each step: k-means of a level, then a refinement of all levels."""
    codes = GreedyCodes()
    for size in sizes:
        codes = codes.then(*fit_level(codes, size, None))
        yield list(codes.books), list(codes.prices)
    books = list(codes.books)
    for _ in range(refinements):
        books, _counts = refined(blocks, BeamCodes(tuple(books), codes.prices, beam), books)
        yield books, list(codes.prices)


def _settled(
    sample: Blocks, books: Sequence[torch.Tensor], prices: list[torch.Tensor], beam: int, mean_D: np.ndarray
) -> list[torch.Tensor]:
    """Prices that balance the codes found by the search with these codebooks."""
    for done in range(_SETTLING_ROUNDS):
        use = _Use.of(sample, BeamCodes(tuple(books), tuple(prices), beam), mean_D)
        for level, counts in enumerate(use.counts):
            step = use.errors[level] / sample.rows * 0.1 * 0.05 ** (done / _SETTLING_ROUNDS)
            prices[level] = raised_prices(prices[level], torch.from_numpy(counts).to(prices[level].device), step)
    return prices


@dataclass(frozen=True)
class _Use:
    """variance: the squared distance of all vectors to their mean. errors: their squared error after each level.
    counts: the members of each code, int64 [K_l]."""

    variance: float
    errors: list[float]
    counts: list[np.ndarray]

    @classmethod
    def of(cls, blocks: Blocks, codes: BlockCodes, mean_D: np.ndarray) -> _Use:
        work = _BlockUse(codes, torch.from_numpy(mean_D.astype(np.float32)))
        (variance, *errors), *counts = summed(blocks.map(work))
        return cls(float(variance), [float(error) for error in errors], counts)

    def metrics(self) -> dict[str, Any]:
        """Per level: R^2 of the prefix, and the share of codes in use."""
        r2 = [1.0 - error / self.variance if self.variance > 0 else 1.0 for error in self.errors]
        return {"r2_per_level": r2, "utilisation_per_level": [float((each > 0).mean()) for each in self.counts]}


@dataclass(frozen=True)
class _BlockUse:
    """The variance and the errors of `_Use`, float64 [1 + L], and its counts, for one block."""

    codes: BlockCodes
    mean_D: torch.Tensor

    def __call__(self, block: Block) -> list[np.ndarray]:
        books, codes_NL = self.codes.books, self.codes.codes(block)
        sums = torch.zeros(1 + len(books), dtype=torch.float64)
        row = 0
        for chunk in block.chunks():
            codes = codes_NL[row : row + len(chunk)].to(books[0].device, torch.int64)
            row += len(chunk)
            left = chunk.to(books[0].device)
            energies = [(chunk - self.mean_D).square().sum(1).double().sum()]
            for level, book in enumerate(books):
                left = left - book[codes[:, level]]
                energies.append(left.square().sum(1).double().sum().cpu())
            sums += torch.stack(energies)
        counts = [torch.bincount(codes, minlength=len(book)) for codes, book in zip(codes_NL.T, books, strict=True)]
        return [sums.numpy(), *(each.numpy() for each in counts)]
