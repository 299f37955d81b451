"""Blocks in files: the rows that went in, each block in the order of its hashes, whatever the pieces."""

from __future__ import annotations

import tempfile
from contextlib import closing

import numpy as np
import pytest

from fuseid.core.errors import NotReady
from fuseid.core.row_blocks import CHUNK
from fuseid.pipelines.streams import block_files
from fuseid.pipelines.streams.block_files import BlockFiles, Piece

ROWS, DIM, NUMBERS = 10_000, 3, 4


@pytest.fixture(scope="module")
def rows():
    """Every hash occurs about ten times, so that ties are common. Block 2 is empty."""
    rng = np.random.default_rng(0)
    numbers = rng.choice([0, 1, 3], ROWS)
    hashes, ties = rng.integers(0, 1000, ROWS).astype(np.uint64), rng.permutation(ROWS).astype(np.uint64)
    return Piece(numbers, hashes, ties, rng.normal(size=(ROWS, DIM)).astype(np.float32), ROWS)


@pytest.fixture
def files():
    with closing(BlockFiles(DIM)) as files:
        yield files


def blocks_of(files, rows, order, size):
    for start in range(0, ROWS, size):
        chosen = np.zeros(ROWS, bool)
        chosen[order[start : start + size]] = True
        files.add(rows.where(chosen, size))
    return files.finish(range(NUMBERS))


@pytest.mark.parametrize("size", [700, ROWS])
def test_a_block_has_its_rows_in_the_order_of_their_hashes(files, rows, size):
    blocks = blocks_of(files, rows, np.random.default_rng(1).permutation(ROWS), size)
    assert list(blocks) == list(range(NUMBERS))
    for number, block in blocks.items():
        mine = np.flatnonzero(rows.numbers_N == number)
        expected = sorted(mine, key=lambda row: (rows.hashes_N[row], rows.ties_N[row]))
        assert block.rows == len(mine)
        assert np.array_equal(block.read(), rows.vectors_ND[expected])


def test_chunks_are_the_rows_of_a_block(files, rows):
    one = Piece(np.zeros(ROWS, np.int64), rows.hashes_N, rows.ties_N, rows.vectors_ND, ROWS)
    block = blocks_of(files, one, np.arange(ROWS), ROWS)[0]
    chunks = [chunk.numpy() for chunk in block.chunks()]
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, ROWS - 2 * CHUNK]
    assert np.array_equal(np.concatenate(chunks), block.read())
    assert np.array_equal(block.read(CHUNK, 5), chunks[1][:5])
    assert block.read(ROWS).shape == (0, DIM)


def test_no_file_has_a_name_and_a_closed_one_is_gone(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    files = BlockFiles(DIM)
    files.add(rows)
    block = files.finish(range(NUMBERS))[0]
    assert list(tmp_path.iterdir()) == []
    files.close()
    with pytest.raises(ValueError, match="closed file"):
        block.read()


def test_a_full_disk_is_reported_with_the_remedy(files, rows, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(block_files.os, "pwrite", full)
    with pytest.raises(NotReady, match=r"cannot write the vectors of a fit to \S+: .*; TMPDIR names a folder"):
        files.add(rows)
