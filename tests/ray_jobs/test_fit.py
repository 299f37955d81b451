"""A fit on Ray: the same blocks, the same results and the same tokenizers as in one process, for any number of actors,
also if actors die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from fuseid.core.config import Config
from fuseid.core.errors import BadInput, FuseidError
from fuseid.core.row_blocks import CHUNK, ArrayBlocks, Block, Blocks
from fuseid.pipelines.assignment.fit_blocks import FitBlocks, LocalFitRunner
from fuseid.pipelines.assignment.fit_rows import FitRows, Joined
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.jobs.progress import Stages
from fuseid.pipelines.sources.vectors import Vectors
from fuseid.pipelines.store.store import Store
from fuseid.ray_jobs.fit import RayFitRunner
from fuseid.tokenizers.registry import TOKENIZERS

pytestmark = pytest.mark.usefixtures("ray_cluster")
ROWS, DIM = 14_000, 8
# What each actor reserves: several sets of them exist at a time.
CPUS = 0.1
# What a tokenizer of a kind needs to be fitted in a moment.
SMALL: dict[str, dict[str, Any]] = {
    "rq-kmeans": {"iterations": 2},
    "rq-vae": {"iterations": 2, "refinements": 1, "hidden": 8, "epochs": 1},
    "fsq": {"hidden": 8, "epochs": 1},
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ready-made vectors around some centres, in several parts."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, DIM))[rng.integers(0, 40, ROWS)] + 0.3 * rng.normal(size=(ROWS, DIM))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    (folder / "vectors.ids.txt").write_text("".join(f"item-{number}\n" for number in range(ROWS)))
    settings = Config.model_validate({"clip": None, "run": {"wave_vectors": 6000}})
    ingest(str(folder / "db"), Vectors(folder / "vectors.npy"), settings, LocalRunner())
    return folder / "db"


def rows_of(db: Path) -> FitRows:
    return FitRows.of(Store.open(db), "all", Joined({"external": DIM}), "external IS NOT NULL", least_left=100)


@dataclass(frozen=True)
class Sums:
    """Of the rows by their nearest of some centres, float64 [K, D]. kill: the process dies at this block of the first
    pass; mark: a file that says that it has."""

    centres: torch.Tensor
    kill: int = -1
    mark: Path | None = None

    def __call__(self, block: Block) -> torch.Tensor:
        if block.number == self.kill and self.mark is not None and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        sums = torch.zeros(self.centres.shape, dtype=torch.float64)
        for chunk in block.chunks():
            codes = torch.cdist(chunk, self.centres).argmin(1)
            sums.index_add_(0, codes, chunk.double())
        return sums


def passes(blocks: Blocks, **more: Any) -> list[np.ndarray]:
    """Three passes, each of which depends on the one before."""
    found, centres = [], torch.from_numpy(blocks.sample(6))
    for _ in range(3):
        total = torch.zeros(centres.shape, dtype=torch.float64)
        for sums in blocks.map(Sums(centres, **more)):
            total += sums
        found.append(total.numpy())
        centres = (total / total.abs().sum(1, keepdim=True)).float()
    return found


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True))


@pytest.fixture(scope="module")
def quiet(db: Path) -> Iterator[FitBlocks]:
    with LocalFitRunner().blocks(rows_of(db), Stages()) as blocks:
        yield blocks


@contextmanager
def on_ray(db: Path, fitters: int) -> Iterator[FitBlocks]:
    with RayFitRunner(fitters, CPUS).blocks(rows_of(db), Stages()) as blocks:
        yield blocks


# The contract of `core.row_blocks.Blocks`


@pytest.fixture(scope="module", params=["array", "files", "ray"])
def blocks(request: pytest.FixtureRequest, db: Path, quiet: FitBlocks) -> Iterator[Blocks]:
    if request.param == "array":
        yield ArrayBlocks(np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32))
    elif request.param == "files":
        yield quiet
    else:
        with on_ray(db, 2) as found:
            yield found


def seen(block: Block) -> tuple[int, int, list[np.ndarray]]:
    return block.number, block.rows, [chunk.numpy() for chunk in block.chunks()]


def counted(block: Block) -> int:
    block.memo["times"] = block.memo.get("times", 0) + 1
    return int(block.memo["times"])


def threads(_: Block) -> int:
    return torch.get_num_threads()


def refused(block: Block) -> None:
    if block.number == 1:
        raise BadInput("this block is not to be fitted on")


def test_results_come_in_block_order_and_chunks_are_the_rows_of_a_block(blocks: Blocks) -> None:
    assert blocks.count > 2
    found = list(blocks.map(seen))
    assert [number for number, _, _ in found] == list(range(blocks.count))
    assert sum(rows for _, rows, _ in found) == blocks.rows
    for number, rows, chunks in found:
        assert all(len(chunk) == CHUNK for chunk in chunks[:-1])
        assert np.array_equal(np.concatenate(chunks), blocks.read(number))
        assert blocks.read(number).shape == (rows, blocks.dim)


def test_a_sample_is_random_rows_and_a_smaller_one_the_start_of_a_larger(blocks: Blocks) -> None:
    some, more, every = (blocks.sample(rows) for rows in (50, 6000, 10**6))
    assert np.array_equal(some, more[:50])
    assert some.dtype == np.float32
    together = np.concatenate([blocks.read(number) for number in range(blocks.count)])
    assert np.array_equal(every[np.lexsort(every.T)], together[np.lexsort(together.T)])
    assert np.allclose(more.mean(0), together.mean(0), atol=0.1)


def test_what_a_block_remembers_is_there_in_the_next_pass(blocks: Blocks) -> None:
    first = list(blocks.map(counted))
    assert list(blocks.map(counted)) == [times + 1 for times in first]


def test_each_block_is_worked_on_by_one_thread(blocks: Blocks) -> None:
    assert list(blocks.map(threads)) == [1] * blocks.count


def test_an_error_of_the_work_keeps_its_type(blocks: Blocks) -> None:
    with pytest.raises(BadInput, match=r"^this block is not to be fitted on$"):
        list(blocks.map(refused))
    assert list(blocks.map(threads)) == [1] * blocks.count


# The same bits


@pytest.mark.parametrize(
    "fitters", [1, 3, pytest.param(2, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow)]
)
def test_any_number_of_actors_computes_the_same_bits_as_one_process(db: Path, quiet: FitBlocks, fitters: int) -> None:
    with on_ray(db, fitters) as blocks:
        assert (blocks.rows, blocks.count, blocks.dim) == (quiet.rows, quiet.count, quiet.dim)
        assert np.array_equal(blocks.held_out(), quiet.held_out())
        assert np.array_equal(blocks.sample(5000), quiet.sample(5000))
        assert same(passes(blocks), passes(quiet))


def fitted(db: Path, kind: str, runner: Any, sample: Any = "all") -> str:
    """The id of the tokenizer that a fit makes."""
    tokenizer = {"kind": kind, "codebook_sizes": [8, 8], "sample": sample, **SMALL.get(kind, {})}
    settings = Config.model_validate({"fusion": {"dim": 6, "sample": 3000}, "tokenizer": tokenizer})
    run = fit(str(db), settings, cold=True, runner=runner)
    assert run.tokenizer_id is not None
    return run.tokenizer_id


@pytest.fixture(scope="module")
def with_fusion(db: Path) -> Path:
    """The database after a first fit, so that later ones make candidates."""
    fitted(db, "rq-kmeans", LocalFitRunner(), 1000)
    return db


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("fitters", [2, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 3, 8))])
def test_a_tokenizer_of_any_kind_is_the_same_for_any_number_of_actors(
    with_fusion: Path, kind: str, fitters: int
) -> None:
    expected = fitted(with_fusion, kind, LocalFitRunner())
    assert fitted(with_fusion, kind, RayFitRunner(fitters, CPUS)) == expected
    assert fitted(with_fusion, kind, LocalFitRunner(), ROWS + 5) == expected


# Deaths


def test_an_actor_killed_in_the_middle_of_a_pass_changes_nothing(db: Path, quiet: FitBlocks, tmp_path: Path) -> None:
    with on_ray(db, 2) as blocks:
        assert same(passes(blocks, kill=1, mark=tmp_path / "mark"), passes(quiet))
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
def test_actors_killed_while_the_rows_are_read_change_nothing(
    db: Path, quiet: FitBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(db)
    deadly = Deadly(rows.vectors, tmp_path)
    object.__setattr__(rows, "vectors", deadly)
    with RayFitRunner(3, CPUS).blocks(rows, Stages()) as blocks:
        assert same(passes(blocks), passes(quiet))
    assert len(list(tmp_path.iterdir())) == 2


@dataclass(frozen=True)
class Deadly:
    """Kills the first two processes that have rows to convert."""

    vectors: Joined
    marks: Path
    times: int = 2

    @property
    def columns(self) -> list[str]:
        return self.vectors.columns

    @property
    def dim(self) -> int:
        return self.vectors.dim

    def __call__(self, rows: Any) -> np.ndarray:
        deaths = len(list(self.marks.iterdir()))
        if deaths < self.times:
            (self.marks / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.vectors(rows)


@pytest.mark.slow
def test_actors_that_always_die_end_the_fit_in_one_line(db: Path, tmp_path: Path) -> None:
    rows = rows_of(db)
    object.__setattr__(rows, "vectors", Deadly(rows.vectors, tmp_path, times=10**6))
    with (
        pytest.raises(
            FuseidError, match=r"^(fitters died 6 times and finished nothing|part \d+ of the table was lost)"
        ) as refused,
        RayFitRunner(2, CPUS).blocks(rows, Stages()),
    ):
        pass
    assert "\n" not in str(refused.value)


def test_the_version_that_is_read_is_kept_until_the_end_and_no_actor_is_left(db: Path) -> None:
    before, pins_before = actors(), pins(db)
    with on_ray(db, 2):
        assert len(pins(db) - pins_before) == 1
        made = actors() - before
        assert len(made) == 2
    assert pins(db) == pins_before
    gone, alive = psutil.wait_procs(made, timeout=20)
    assert (len(gone), alive) == (2, [])


def pins(db: Path) -> set[str]:
    return {name for name in Store.open(db).dataset("contents").tags.list() if name.startswith("pin-")}


def actors() -> set[psutil.Process]:
    found = set()
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.name().startswith("ray::_Fitter"):
                found.add(process)
    return found
