"""RQ-KMeans: coarse to fine, deterministic, and the same for a vector alone or among many."""

from __future__ import annotations

import itertools
import json
import pickle  # noqa: TID251
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import ArtifactError, BadInput, NotReady
from fuseid.core.row_blocks import ArrayBlocks
from fuseid.tokenizers.alignment import kept
from fuseid.tokenizers.block_codes import GivenCodes
from fuseid.tokenizers.least_squares import refined
from fuseid.tokenizers.residual_search import ResidualSearch
from fuseid.tokenizers.residual_start import ResidualStart
from fuseid.tokenizers.rq_kmeans import RQKMeans

DATA = Path(__file__).parents[1] / "data"
SIZES = (8, 8, 4)


def cloud(rows: int = 1500, dim: int = 12, seed: int = 0) -> np.ndarray:
    """A cloud without gaps, the hard case for quantizing; several blocks, the last one partly filled."""
    generator = np.random.default_rng(seed)
    return (generator.normal(size=(rows, dim)) * np.linspace(2, 0.2, dim)).astype(np.float32)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


VECTORS = cloud()
TOKENIZER = RQKMeans.fit(VECTORS, SIZES, iterations=8, seed=3, fusion="fusion-0123")
CODES = TOKENIZER.encode(VECTORS)
# As fitted level by level, before the codebooks are fitted together.
GREEDY = RQKMeans.fit(VECTORS, SIZES, iterations=8, seed=3, beam=1, refinements=0)
GREEDY_CODES = GREEDY.encode(VECTORS)


def test_codes_are_int32_with_a_column_per_level_within_the_codebook_sizes():
    assert (CODES.dtype, CODES.shape) == (np.int32, (len(VECTORS), len(SIZES)))
    assert (CODES >= 0).all()
    assert (CODES < SIZES).all()
    # Every code of the first level has members: none died.
    assert set(CODES[:, 0]) == set(range(SIZES[0]))


def test_greedy_each_level_takes_the_nearest_centroid_of_what_is_left():
    rows = slice(0, 50)
    residual = VECTORS[rows].astype(np.float64)
    for level, book in enumerate(GREEDY.codebooks):
        book = book.numpy().astype(np.float64)
        distances = np.linalg.norm(residual[:, None] - book, axis=2)
        chosen = distances[np.arange(50), GREEDY_CODES[rows, level]]
        assert (chosen <= distances.min(1) + 1e-5).all()
        residual -= book[GREEDY_CODES[rows, level]]


def test_residual_energy_never_grows_from_level_to_level():
    energies = [float(np.square(VECTORS).sum())]
    for level in range(1, len(SIZES) + 1):
        energies.append(float(np.square(VECTORS - GREEDY.decode(GREEDY_CODES[:, :level])).sum()))
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(energies))
    assert energies[-1] < 0.5 * energies[0]


def test_the_recorded_r2_is_that_of_the_fitting_data():
    total = np.square(VECTORS - VECTORS.mean(0)).sum()
    for level, r2 in enumerate(TOKENIZER.meta["metrics"]["r2_per_level"], 1):
        left = np.square(VECTORS - TOKENIZER.decode(CODES[:, :level])).sum()
        assert r2 == pytest.approx(1 - left / total, abs=1e-4)


def test_a_loaded_tokenizer_gives_the_codes_of_the_saved_one(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    loaded = RQKMeans.load(tmp_path / "tokenizer")
    assert loaded.id == TOKENIZER.id
    assert loaded.id.startswith("rq-kmeans-")
    assert (loaded.codebook_sizes, loaded.dim, loaded.meta) == (SIZES, 12, TOKENIZER.meta)
    assert np.array_equal(loaded.encode(VECTORS), CODES)
    assert np.array_equal(loaded.decode(CODES), TOKENIZER.decode(CODES))


def test_a_second_fit_is_the_same_artifact_and_another_seed_is_another(tmp_path):
    TOKENIZER.save(tmp_path / "first")
    again = RQKMeans.fit(cloud(), SIZES, iterations=8, seed=3, fusion="fusion-0123")
    again.save(tmp_path / "again")
    other = RQKMeans.fit(cloud(), SIZES, iterations=8, seed=4, fusion="fusion-0123")
    other.save(tmp_path / "other")
    assert again.id == TOKENIZER.id != other.id


def test_the_fusion_that_it_was_fitted_on_is_part_of_its_identity(tmp_path):
    TOKENIZER.save(tmp_path / "first")
    books, prices = ([part.numpy() for part in parts] for parts in (TOKENIZER.codebooks, TOKENIZER.prices))
    other = RQKMeans({**TOKENIZER.meta, "fusion": "fusion-4567"}, books, prices)
    other.save(tmp_path / "other")
    assert other.id != TOKENIZER.id


def test_an_altered_artifact_is_refused(tmp_path):
    TOKENIZER.save(tmp_path / "tokenizer")
    tensors = tmp_path / "tokenizer" / "tensors.safetensors"
    blob = bytearray(tensors.read_bytes())
    blob[-2] ^= 4
    tensors.write_bytes(blob)
    with pytest.raises(ArtifactError, match="was altered"):
        RQKMeans.load(tmp_path / "tokenizer")


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, len(VECTORS) - 1), min_size=1, max_size=60))
def test_any_selection_in_any_order_gets_the_same_codes(rows):
    assert np.array_equal(TOKENIZER.encode(VECTORS[rows]), CODES[rows])


@pytest.mark.parametrize("row", [0, 1023, 1024, 1499])
def test_a_vector_has_the_same_codes_alone_and_among_all(row):
    assert np.array_equal(TOKENIZER.encode(VECTORS[row : row + 1]), CODES[row : row + 1])


def test_a_prefix_decodes_to_the_coarse_vector():
    books = [book.numpy() for book in TOKENIZER.codebooks]
    assert np.array_equal(TOKENIZER.decode(CODES[:5, :1]), books[0][CODES[:5, 0]])
    assert np.allclose(TOKENIZER.decode(CODES[:5, :2]), books[0][CODES[:5, 0]] + books[1][CODES[:5, 1]])


def test_codes_equal_the_golden_ones():
    golden = json.loads((DATA / "rq_kmeans.json").read_text(encoding="utf-8"))
    vectors = runpy.run_path(str(DATA / "make_goldens.py"))["two_level_clusters"]()
    tokenizer = RQKMeans.fit(vectors, golden["codebook_sizes"], iterations=20, seed=golden["seed"])
    assert tokenizer.encode(vectors).tolist() == golden["codes"]


def test_where_clusters_lie_apart_codes_name_them_and_decoding_is_stable():
    vectors = runpy.run_path(str(DATA / "make_goldens.py"))["two_level_clusters"]()
    tokenizer = RQKMeans.fit(vectors, (4, 3), iterations=20, seed=1)
    codes = tokenizer.encode(vectors)
    coarse, fine = np.arange(len(vectors)) % 4, np.arange(len(vectors)) // 4 % 3
    assert len({(int(c), int(k)) for c, k in zip(coarse, codes[:, 0], strict=True)}) == 4
    assert len({(int(c), int(f), tuple(k)) for c, f, k in zip(coarse, fine, codes.tolist(), strict=True)}) == 12
    assert np.array_equal(tokenizer.encode(tokenizer.decode(codes)), codes)


def test_with_one_code_per_level_the_centroid_is_the_mean_of_the_vectors():
    tokenizer = RQKMeans.fit(VECTORS, (1,), iterations=2, refinements=0)
    assert not tokenizer.encode(VECTORS).any()
    assert np.allclose(tokenizer.codebooks[0].numpy(), VECTORS.mean(0), atol=1e-4)


def test_with_as_many_codes_as_vectors_decoding_reproduces_the_vectors():
    few = VECTORS[:6]
    tokenizer = RQKMeans.fit(few, (6,), iterations=5)
    assert np.allclose(tokenizer.decode(tokenizer.encode(few)), few, atol=1e-5)


def test_a_single_vector_can_be_fitted_with_one_code():
    tokenizer = RQKMeans.fit(VECTORS[:1], (1, 1))
    assert tokenizer.encode(VECTORS[:1]).tolist() == [[0, 0]]
    assert np.allclose(tokenizer.decode(np.array([[0, 0]])), VECTORS[:1], atol=1e-5)
    assert tokenizer.meta["metrics"]["r2_per_level"] == [1.0, 1.0]


@pytest.mark.parametrize("balanced", [False, True])
def test_constant_columns_are_decoded_and_do_not_disturb_the_others(balanced):
    wide = np.concatenate([VECTORS, np.full((len(VECTORS), 3), 2.5, np.float32)], axis=1)
    tokenizer = RQKMeans.fit(wide, SIZES, iterations=8, balanced=balanced)
    decoded = tokenizer.decode(tokenizer.encode(wide))
    assert np.allclose(decoded[:, -3:], 2.5, atol=0.02)
    assert tokenizer.meta["metrics"]["r2_per_level"][-1] > 0.6


def test_zero_vectors_are_encoded_like_others():
    vectors = np.concatenate([VECTORS, np.zeros((200, 12), np.float32)])
    codes = RQKMeans.fit(vectors, SIZES, iterations=8).encode(vectors)
    assert len(np.unique(codes[-200:], axis=0)) == 1
    with pytest.raises(NotReady, match="1 distinct vectors cannot fill a codebook of 8"):
        RQKMeans.fit(np.zeros((50, 12), np.float32), SIZES)
    alone = RQKMeans.fit(np.zeros((50, 12), np.float32), (1,))
    assert not alone.decode(alone.encode(np.zeros((2, 12), np.float32))).any()


def test_levels_after_an_exact_fit_stay_finite():
    tokenizer = RQKMeans.fit(VECTORS[:4], (4, 4, 4), iterations=3)
    assert np.isfinite(tokenizer.decode(tokenizer.encode(VECTORS[:4]))).all()


@pytest.mark.parametrize("repeated", [1, 9])
def test_a_fit_needs_enough_different_vectors(repeated):
    with pytest.raises(NotReady, match="7 distinct vectors cannot fill a codebook of 8"):
        RQKMeans.fit(np.repeat(VECTORS[:7], repeated, axis=0), SIZES)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.full((20, 4), np.nan, np.float32), "NaN"),
        (np.full((20, 4), np.inf, np.float32), "infinite"),
        (np.empty((0, 4), np.float32), "not empty"),
        (np.empty((4, 0), np.float32), "not empty"),
        (VECTORS[0], "N, D"),
    ],
)
def test_vectors_that_cannot_be_fitted_on_are_refused(vectors, said):
    with pytest.raises(BadInput, match=said) as caught:
        RQKMeans.fit(vectors, SIZES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (VECTORS[:, :11], "12 numbers, got 11"),
        (np.full((1, 12), np.nan, np.float32), "NaN"),
        (np.empty((0, 12), np.float32), "not empty"),
    ],
)
def test_vectors_that_cannot_be_encoded_are_refused(vectors, said):
    with pytest.raises(BadInput, match=said):
        TOKENIZER.encode(vectors)


def test_progress_is_reported_step_by_step():
    steps = []
    RQKMeans.fit(
        VECTORS[:50], (2, 2, 2), iterations=1, refinements=1, progress=lambda done, of: steps.append((done, of))
    )
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


# --- search and refinement ---


def all_codes(sizes) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))


def error_of(tokenizer: RQKMeans, codes: np.ndarray, vectors: np.ndarray = VECTORS) -> np.ndarray:
    return np.square(vectors.astype(np.float64) - tokenizer.decode(codes)).sum(1)


def test_a_beam_that_holds_every_path_finds_the_best_of_all_codes():
    rows = VECTORS[:200].astype(np.float64)
    every = all_codes(SIZES)
    squared = ((rows[:, None] - TOKENIZER.decode(every)[None]) ** 2).sum(2)
    codes = TOKENIZER.encode(VECTORS[:200], beam=SIZES[0] * SIZES[1])
    assert np.allclose(error_of(TOKENIZER, codes, VECTORS[:200]), squared.min(1), atol=1e-4)


def test_a_wider_beam_lowers_the_error_and_a_beam_of_one_is_greedy():
    errors = [error_of(TOKENIZER, TOKENIZER.encode(VECTORS, beam=beam)).mean() for beam in (1, 2, 5, 64)]
    assert all(after <= before for before, after in itertools.pairwise(errors))
    assert errors[2] < 0.99 * errors[0]


def test_codebooks_fitted_together_lower_the_error_of_the_same_codes():
    vectors, codes = torch.from_numpy(VECTORS), torch.from_numpy(GREEDY_CODES).long()
    books, _ = refined(ArrayBlocks(VECTORS), GivenCodes(tuple(GREEDY.codebooks), codes), GREEDY.codebooks)
    after = sum(book[codes[:, level]] for level, book in enumerate(books))
    assert float((vectors - after).square().sum()) < 0.998 * error_of(GREEDY, GREEDY_CODES).sum()
    # The normal equations: the residual is orthogonal to every code, apart from the regularisation.
    left = (vectors - after).double()
    for level, book in enumerate(books):
        sums = torch.zeros(len(book), left.shape[1], dtype=torch.float64).index_add_(0, codes[:, level], left)
        pulled = 0.01 * (book - GREEDY.codebooks[level]).double()
        assert torch.allclose(sums, pulled, atol=2e-2)


def test_a_code_without_members_stays_where_it_was():
    books = [torch.randn(4, 12, generator=torch.Generator().manual_seed(level)) for level in range(2)]
    codes = torch.randint(0, 3, (40, 2), generator=torch.Generator().manual_seed(9))
    after_all, _ = refined(ArrayBlocks(VECTORS[:40]), GivenCodes(tuple(books), codes), books)
    for before, after in zip(books, after_all, strict=True):
        assert torch.allclose(before[3], after[3], atol=1e-5)


def test_refinements_and_beam_raise_r2():
    assert TOKENIZER.meta["metrics"]["r2_per_level"][-1] > GREEDY.meta["metrics"]["r2_per_level"][-1] + 0.005


@pytest.mark.parametrize("seed", range(5))
def test_the_seed_hardly_matters_and_no_code_is_dead(seed):
    """In many dimensions, where a start on a vector keeps that vector alone."""
    generator = np.random.default_rng(7)
    vectors = generator.normal(size=(2000, 96)).astype(np.float32) + 2 * generator.normal(size=(12, 96))[
        generator.integers(0, 12, 2000)
    ].astype(np.float32)
    metrics = RQKMeans.fit(vectors, (32, 32), seed=seed).meta["metrics"]
    assert metrics["utilisation_per_level"] == [1.0, 1.0]
    assert metrics["r2_per_level"][-1] == pytest.approx(0.805, abs=0.01)


def test_prices_even_out_the_use_of_codes():
    generator = np.random.default_rng(3)
    centres = generator.normal(size=(8, 12)) * 3
    weights = 0.6 ** np.arange(8)
    which = generator.choice(8, 4000, p=weights / weights.sum())
    vectors = (centres[which] + generator.normal(size=(4000, 12))).astype(np.float32)

    def entropies(tokenizer: RQKMeans) -> list[float]:
        shares = [np.bincount(level, minlength=8) / 4000 for level in tokenizer.encode(vectors).T]
        return [float(-(p[p > 0] * np.log(p[p > 0])).sum() / np.log(8)) for p in shares]

    plain, even = (RQKMeans.fit(vectors, (8, 8), balanced=balanced, seed=1) for balanced in (False, True))
    assert min(entropies(plain)) < 0.98
    assert min(entropies(even)) > 0.99
    assert not any(price.any() for price in plain.prices)


def test_prices_are_saved_with_the_codebooks(tmp_path):
    tokenizer = RQKMeans.fit(VECTORS, SIZES, iterations=4, balanced=True)
    tokenizer.save(tmp_path / "even")
    assert np.array_equal(RQKMeans.load(tmp_path / "even").encode(VECTORS), tokenizer.encode(VECTORS))


def test_the_table_search_finds_what_the_residual_search_finds():
    prices = [torch.linspace(0, 0.5, size) for size in SIZES]
    codes = ResidualSearch(GREEDY.codebooks, prices).codes(torch.from_numpy(VECTORS)).numpy()
    residual = VECTORS.astype(np.float64)
    for level, (book, price) in enumerate(zip(GREEDY.codebooks, prices, strict=True)):
        cost = np.square(residual[:, None] - book.numpy()[None]).sum(2) / 2 + price.numpy()
        chosen = cost[np.arange(len(cost)), codes[:, level]]
        assert (chosen <= cost.min(1) + 1e-4).all()
        residual -= book.numpy()[codes[:, level]]


@pytest.mark.parametrize("count", [1, 7, 40, 256])
def test_candidates_are_the_cheapest_codes_in_order(count):
    rows = VECTORS[:300]
    codes, errors = TOKENIZER.candidates(rows, count)
    every = all_codes(SIZES)
    squared = ((rows.astype(np.float64)[:, None] - TOKENIZER.decode(every)[None]) ** 2).sum(2)
    assert codes.shape == (300, count, len(SIZES))
    assert len(np.unique(codes.reshape(300, count, -1)[0], axis=0)) == count
    assert (np.diff(errors, axis=1) >= -1e-4).all()
    flat = codes.astype(np.int64) @ [32, 4, 1]
    assert np.allclose(errors, np.take_along_axis(squared, flat, axis=1), atol=1e-4)
    if count >= SIZES[0] * SIZES[1]:  # a beam as wide as all paths of the first two levels misses none
        assert np.allclose(errors, np.sort(squared, axis=1)[:, :count], atol=1e-4)


def test_asking_for_more_candidates_than_codes_gives_all_codes():
    codes, _ = TOKENIZER.candidates(VECTORS[:3], 10_000)
    assert [sorted(map(tuple, row)) for row in codes.tolist()] == [sorted(map(tuple, all_codes(SIZES).tolist()))] * 3


@pytest.mark.parametrize("sizes", [(128, 256, 32), (640, 5), (7,), (1, 9, 1)])
def test_the_search_is_exact_whatever_the_sizes(sizes):
    """Wide, narrow and odd-sized levels take different code paths."""
    generator = torch.Generator().manual_seed(1)
    books = [torch.randn(size, 6, generator=generator) / (1 + level) for level, size in enumerate(sizes)]
    vectors = torch.randn(70, 6, generator=generator)
    search = ResidualSearch(books, [torch.zeros(size) for size in sizes])
    sums, paths = torch.zeros(70, 1, 6), torch.zeros(70, 1, 0, dtype=torch.int64)
    for book in books:
        sums = (sums[:, :, None] + book).flatten(1, 2)
        codes = torch.arange(len(book)).expand(70, paths.shape[1], -1)
        paths = torch.cat([paths[:, :, None].expand(-1, -1, len(book), -1), codes[..., None]], 3).flatten(1, 2)
        cost = (vectors[:, None] - sums).square().sum(2)
        order = cost.argsort(dim=1)[:, :3]
        sums = sums.gather(1, order[..., None].expand(-1, -1, 6))
        paths = paths.gather(1, order[..., None].expand(-1, -1, paths.shape[2]))
    assert torch.equal(search.codes(vectors, beam=3), paths[:, 0])


def test_decoded_vectors_are_encoded_to_the_same_codes():
    decoded = TOKENIZER.decode(CODES)
    everywhere = TOKENIZER.encode(decoded, beam=SIZES[0] * SIZES[1])
    assert np.allclose(TOKENIZER.decode(everywhere), decoded, atol=1e-4)
    by_beam = TOKENIZER.decode(TOKENIZER.encode(decoded))
    assert np.isclose(by_beam, decoded, atol=1e-4).all(axis=1).mean() > 0.97


def test_greedy_codes_are_those_of_faiss_on_the_same_codebooks():
    """Except for vectors that lie between two codes to the last digits."""
    import faiss

    vectors = cloud(800, 12, seed=11)
    tokenizer = RQKMeans.fit(vectors, (16, 16, 16), beam=1, refinements=0)
    quantizer = faiss.ResidualQuantizer(12, 3, 4)
    quantizer.train_type = faiss.ResidualQuantizer.Skip_codebook_tables
    quantizer.max_beam_size = 1
    faiss.copy_array_to_vector(
        np.concatenate([book.numpy() for book in tokenizer.codebooks]).ravel(), quantizer.codebooks
    )
    quantizer.is_trained = True
    packed = quantizer.compute_codes(vectors).astype(np.int64)
    number = packed[:, 0] | packed[:, 1] << 8
    theirs = np.stack([number >> 4 * level & 15 for level in range(3)], axis=1)
    differ = (theirs != tokenizer.encode(vectors)).any(1)
    assert differ.mean() < 0.005
    ours, their_errors = (error_of(tokenizer, codes, vectors) for codes in (tokenizer.encode(vectors), theirs))
    assert np.allclose(ours[differ], their_errors[differ], rtol=1e-3)


# --- fits over blocks ---


class Forgetful(ArrayBlocks):
    """Its blocks are worked on in another process each time: nothing is in their memos, and work arrives as bytes. The
    last block is first."""

    def map(self, work):
        found = []
        for block in reversed(self._blocks):
            block.memo.clear()
            found.append(pickle.loads(pickle.dumps(work))(block))  # noqa: S301
        return reversed(found)


MANY = cloud(9000, seed=8)
STARTS = {"cold": {}, "balanced": {"balanced": True}, "warm": {"start": True}, "wider": {"start": True, "wider": True}}


def fitted_on_blocks(blocks, start: bool = False, wider: bool = False, **options) -> RQKMeans:
    sizes = (12, 16, 4) if wider else SIZES
    if start:
        options["start"] = RQKMeans.start_from(TOKENIZER, VECTORS, CODES, sizes)
    return RQKMeans.fit(blocks, sizes, iterations=4, seed=3, refinements=2, **options)


@pytest.mark.parametrize("options", STARTS.values(), ids=STARTS)
def test_a_fit_has_the_same_bits_for_any_number_of_threads_and_whoever_works_on_the_blocks(threads, options):
    ids = set()
    for number in (1, 2, 3):
        threads(number)
        ids.add(fitted_on_blocks(MANY, **options).id)
    ids.add(fitted_on_blocks(Forgetful(MANY), **options).id)
    assert len(ids) == 1


def test_blocks_may_be_fitted_on_again_after_another_fit():
    blocks = ArrayBlocks(MANY)
    first = fitted_on_blocks(blocks)
    fitted_on_blocks(blocks, balanced=True)
    assert fitted_on_blocks(blocks).id == first.id


def test_nothing_of_the_size_of_the_blocks_comes_to_the_process_that_fits():
    class Counted(ArrayBlocks):
        def map(self, work):
            for result in super().map(work):
                sizes.append(len(pickle.dumps(result)))
                yield result

        def sample(self, rows):
            sampled.append(rows)
            return super().sample(rows)

    sizes: list[int] = []
    sampled: list[int] = []
    fitted_on_blocks(Counted(MANY))
    assert max(sizes) < 8000 < MANY[:4096].nbytes
    assert sampled == [64 * max(SIZES)]


# --- start of a later fit ---

SHARES = [0.75, 0.5, 0.4]


def refitted(start, sizes=SIZES, **options) -> RQKMeans:
    """On nine tenths of the vectors and as many new ones as are left out, of the same cloud."""
    rows = np.concatenate([VECTORS[:1350], cloud(150, seed=5)])
    return RQKMeans.fit(rows, sizes, seed=4, start=start, **options)


def start_of(tokenizer: RQKMeans | None, sizes=SIZES) -> ResidualStart:
    found = RQKMeans.start_from(tokenizer, VECTORS, CODES, sizes)
    assert found is not None
    return found


@pytest.mark.parametrize("of", [TOKENIZER, None], ids=["codebooks", "codes"])
def test_a_fit_with_a_start_keeps_codes_and_quantizes_as_well_as_a_cold_one(of):
    cold, warm = refitted(None), refitted(start_of(of))
    shares = kept(CODES, warm.encode(VECTORS))
    assert all(share > least for share, least in zip(shares, SHARES, strict=True))
    assert kept(CODES, cold.encode(VECTORS))[0] < 0.3
    unseen = cloud(1500, seed=6)
    assert (
        error_of(warm, warm.encode(unseen), unseen).mean() < 1.01 * error_of(cold, cold.encode(unseen), unseen).mean()
    )
    assert refitted(start_of(of)).id == warm.id


def test_the_start_is_left_as_it_was():
    start = start_of(TOKENIZER)
    before = [book.copy() for book in start.codebooks]
    refitted(start)
    assert all(np.array_equal(*pair) for pair in zip(before, start.codebooks, strict=True))
    assert TOKENIZER.id == RQKMeans.fit(VECTORS, SIZES, iterations=8, seed=3, fusion="fusion-0123").id


def test_the_start_of_the_codes_decodes_them_best():
    """No codebooks decode these codes better than the least squares of them all."""
    found = start_of(None)
    decoded = sum(book[CODES[:, level]] for level, book in enumerate(found.codebooks))
    assert np.square(VECTORS - decoded).sum() <= 1.0001 * error_of(TOKENIZER, CODES).sum()


def test_codes_beyond_the_new_codebooks_start_nothing():
    assert RQKMeans.start_from(None, VECTORS, CODES + 8, SIZES) is None
    few = RQKMeans.start_from(None, VECTORS, CODES, (4, 4))
    assert few is not None
    assert [book.shape for book in few.codebooks] == [(4, 12), (4, 12)]


@pytest.mark.parametrize("balanced", [False, True], ids=["plain", "balanced"])
@pytest.mark.parametrize("sizes", [(16, 16, 8), (4, 4, 2), (8,), (8, 8, 4, 4), (64, 8)])
def test_codebooks_of_other_sizes_use_all_codes_and_quantize_as_a_cold_fit_does(sizes, balanced):
    cold, warm = (refitted(start, sizes, balanced=balanced) for start in (None, start_of(TOKENIZER, sizes)))
    assert warm.codebook_sizes == sizes
    assert min(warm.meta["metrics"]["utilisation_per_level"]) >= 0.9
    ends = [each.meta["metrics"]["r2_per_level"][-1] for each in (cold, warm)]
    assert ends[1] > ends[0] - 0.03


@pytest.mark.parametrize("before", [False, True], ids=["plain", "balanced"])
def test_a_start_can_be_balanced_whether_or_not_it_was(before):
    earlier = RQKMeans.fit(VECTORS, SIZES, iterations=8, seed=3, balanced=before)
    start = RQKMeans.start_from(earlier, VECTORS, earlier.encode(VECTORS), SIZES)
    cold, warm, plain = refitted(None, balanced=True), refitted(start, balanced=True), refitted(start)
    ends = [each.meta["metrics"]["r2_per_level"][-1] for each in (cold, warm)]
    assert ends[1] > ends[0] - 0.02
    for level, size in enumerate(SIZES):
        counts = np.bincount(warm.encode(VECTORS)[:, level], minlength=size) * size / len(VECTORS)
        assert (np.abs(counts - 1) < 0.5).all()
    assert any(price.any() for price in warm.prices)
    assert not any(price.any() for price in plain.prices)


def test_progress_with_a_start_is_reported_round_by_round():
    steps = []
    refitted(start_of(TOKENIZER), refinements=1, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
