"""The trie: after any additions, removals and filters it holds what a plain set of IDs would, in the same arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuseid.core.errors import BadInput
from fuseid.tokenizers.trie import Trie

quick = settings(deadline=None, derandomize=True, max_examples=80)


@st.composite
def catalogues(draw, least: int = 0):
    """Rows of codes, and for each a number of its own."""
    levels = draw(st.integers(1, 4))
    code = st.integers(0, 3)
    rows = draw(st.lists(st.lists(code, min_size=levels, max_size=levels), min_size=least, max_size=25))
    numbers = draw(st.lists(st.integers(0, 60), min_size=len(rows), max_size=len(rows), unique=True))
    return np.array(rows, np.int32).reshape(-1, levels), np.array(numbers, np.int64)


def same(one: Trie, two: Trie) -> bool:
    pairs = zip((*one.offsets, *one.entries), (*two.offsets, *two.entries), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def brute(codes: np.ndarray, items: np.ndarray, prefix: tuple[int, ...]) -> list[int]:
    found = [(tuple(row), item) for row, item in zip(codes.tolist(), items.tolist(), strict=True)]
    return [item for row, item in sorted(found) if row[: len(prefix)] == prefix]


@quick
@given(catalogues())
def test_a_trie_gives_the_items_of_every_prefix(case):
    codes, items = case
    trie = Trie.build(codes, items)
    trie.check()
    order = np.lexsort((items, *codes.T[::-1]))
    found = trie.rows()
    assert np.array_equal(found[0], codes[order])
    assert np.array_equal(found[1], items[order])
    assert trie.id_count == len({tuple(row) for row in codes.tolist()})
    prefixes = {tuple(row[:depth]) for row in codes.tolist() for depth in range(len(row) + 1)}
    for prefix in [*prefixes, (3,), (9,), tuple([2] * codes.shape[1])]:
        assert trie.items(prefix).tolist() == brute(codes, items, prefix)
        there = not prefix or prefix in prefixes
        assert trie.has(np.array([prefix], np.int64).reshape(1, -1)).tolist() == [there]


@quick
@given(catalogues(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(case, random):
    codes, items = case
    order = list(range(len(items)))
    random.shuffle(order)
    assert same(Trie.build(codes, items), Trie.build(codes[order], items[order]))


@quick
@given(catalogues(), st.integers(0, 25))
def test_adding_items_equals_building_from_all_items(case, cut):
    codes, items = case
    trie = Trie.build(codes[:cut], items[:cut])
    before = [array.copy() for array in trie.entries]
    assert same(trie.add(codes[cut:], items[cut:]), Trie.build(codes, items))
    assert all(map(np.array_equal, trie.entries, before))


@quick
@given(catalogues(), st.integers(0, 2**25))
def test_removing_items_equals_building_from_the_rest(case, bits):
    codes, items = case
    gone = np.array([bool(bits >> place & 1) for place in range(len(items))], bool)
    trie = Trie.build(codes, items)
    assert same(trie.remove(items[gone]), Trie.build(codes[~gone], items[~gone]))
    assert same(trie.remove(items[gone]).add(codes[gone], items[gone]), trie)


@quick
@given(catalogues(), st.integers(0, 2**61), st.integers(0, 2**61))
def test_a_filter_equals_rebuilding_without_the_hidden_items(case, bits, more_bits):
    codes, items = case
    masks = [np.array([bool(b >> number & 1) for number in range(61)], bool) for b in (bits, more_bits)]
    trie = Trie.build(codes, items)
    view = trie.filtered(masks[0]).filtered(np.flatnonzero(masks[1]))
    kept = (masks[0] & masks[1])[items]
    rebuilt = Trie.build(codes[kept], items[kept])
    assert view.entries is trie.entries
    assert same(view.compact(), rebuilt)
    assert (view.item_count, view.id_count) == (rebuilt.item_count, rebuilt.id_count)
    assert all(map(np.array_equal, view.rows(), rebuilt.rows()))
    for row in codes.tolist():
        for depth in range(len(row) + 1):
            assert view.items(row[:depth]).tolist() == rebuilt.items(row[:depth]).tolist()
    if len(codes):
        assert np.array_equal(view.has(codes), rebuilt.has(codes))


def test_the_arrays_have_the_documented_layout():
    trie = Trie.build(np.array([[5, 1], [2, 9], [5, 0], [5, 1]]), np.array([7, 3, 4, 1]))
    assert [offsets.tolist() for offsets in trie.offsets] == [[0, 2], [0, 1, 3], [0, 1, 2, 4]]
    assert [entries.tolist() for entries in trie.entries] == [[2, 5], [9, 0, 1], [3, 4, 1, 7]]
    view = trie.filtered(np.array([7, 3]))
    assert [alive.tolist() for alive in view.alive] == [[True, True], [True, False, True], [True, False, False, True]]


def test_long_ids_of_many_codes_do_not_overflow():
    codes = np.full((3, 12), 60_000, np.int64)
    codes[1, 11], codes[2, 0] = 59_999, 0
    trie = Trie.build(codes)
    assert [trie.items(row).tolist() for row in codes] == [[0], [1], [2]]
    assert trie.items(codes[0, :11]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("codes", "items", "named"),
    [
        ([1, 2], None, "rows of one or more levels"),
        (np.empty((3, 0), int), None, "rows of one or more levels"),
        ([[1.5]], None, "codes are integers"),
        ([[-1]], None, "codes are from 0"),
        ([[2**31]], None, "codes are from 0"),
        ([[1], [2]], [0], "take as many items"),
        ([[1], [2]], [4, 4], "item 4 occurs twice"),
        ([[1]], [-1], "items are from 0"),
        ([[1]], [0.5], "items are integers"),
    ],
)
def test_invalid_codes_are_refused(codes, items, named):
    with pytest.raises(BadInput, match=named):
        Trie.build(np.array(codes), None if items is None else np.array(items))


def test_invalid_queries_are_refused():
    trie = Trie.build(np.array([[1, 2], [3, 4]]), np.array([5, 6]))
    cases = [
        (lambda: trie.items([1, 2, 3]), "have 2 codes"),
        (lambda: trie.has(np.array([1, 2])), "rows of 2 codes"),
        (lambda: trie.add(np.array([[1, 2, 3]]), np.array([9])), "have 2 codes"),
        (lambda: trie.add(np.array([[1, 2]]), np.array([6])), "item 6 is in the trie already"),
        (lambda: trie.remove(np.array([7])), "item 7 is not in the trie"),
        (lambda: trie.filtered(np.array([5])).remove(np.array([6])), "item 6 is not in the trie"),
        (lambda: trie.filtered(np.ones(6, bool)), "ends at item 5, the trie has item 6"),
        (lambda: trie.filtered(np.array([0.5])), "a mask over items or a list"),
        (lambda: trie.filtered(np.array([], np.int64)).save(None), "of no item"),
    ]
    for call, named in cases:
        with pytest.raises(BadInput, match=named):
            call()


# On disk


@pytest.fixture
def saved(tmp_path):
    generator = np.random.default_rng(0)
    trie = Trie.build(generator.integers(0, 4, (50, 3)), tokenizer_id="rq-kmeans-1")
    trie.save(tmp_path / "trie")
    return trie, tmp_path / "trie"


def test_a_saved_trie_is_memory_mapped_and_equal_to_the_byte(saved, tmp_path):
    trie, folder = saved
    opened = Trie.open(folder)
    assert same(opened, trie)
    assert opened.tokenizer_id == "rq-kmeans-1"
    assert all(isinstance(array, np.memmap) for array in (*opened.offsets, *opened.entries))
    opened.check()
    opened.save(tmp_path / "again")
    names = sorted(path.name for path in folder.iterdir())
    assert all((tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes() for name in names)
    codes, items = trie.filtered(np.arange(10)).rows()
    assert same(opened.remove(items).add(codes, items), trie)


def test_a_filtered_trie_is_saved_without_the_hidden_items(saved, tmp_path):
    trie, _ = saved
    view = trie.filtered(np.arange(0, 50, 3))
    view.save(tmp_path / "view")
    assert same(Trie.open(tmp_path / "view"), view.compact())


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "trie.json").unlink(),
        lambda folder: (folder / "trie.json").write_text("[]"),
        lambda folder: (folder / "trie.json").write_text('{"format": 9, "levels": 3}'),
        lambda folder: (folder / "codes-1.npy").unlink(),
        lambda folder: (folder / "codes-1.npy").write_bytes((folder / "codes-1.npy").read_bytes()[:-4]),
        lambda folder: np.save(folder / "codes-1.npy", np.zeros(3, np.int32)),
        lambda folder: np.save(folder / "items.npy", np.load(folder / "items.npy").astype(np.float64)),
        lambda folder: np.save(folder / "items.npy", np.array([{}] * 50), allow_pickle=True),
        lambda folder: (folder / "items.npy").write_bytes(b"PK\x03\x04" + bytes(60)),
    ],
)
def test_a_damaged_folder_is_refused(saved, damage):
    _, folder = saved
    damage(folder)
    with pytest.raises(BadInput, match="trie"):
        Trie.open(folder)


@pytest.mark.parametrize("name", ["codes-0", "codes-2", "offsets-1", "items"])
def test_a_check_finds_what_is_not_sorted(saved, name):
    _, folder = saved
    array = np.load(folder / f"{name}.npy")
    array[1:-1] = array[1:-1][::-1]
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(BadInput, match="not sorted"):
        Trie.open(folder).check()


def test_spans_are_where_the_items_of_a_prefix_are_among_all():
    trie = Trie.build(np.array([[2, 1], [0, 5], [0, 3], [0, 5], [7, 7]]))
    _, items = trie.rows()
    for rows in ([[0], [2], [3], [-1]], [[0, 5], [0, 4], [7, 7]], [[], []]):
        codes = np.array(rows, np.int64).reshape(len(rows), -1)
        low, high = trie.spans(codes)
        assert [items[a:b].tolist() for a, b in zip(low, high, strict=True)] == [
            trie.items(row).tolist() for row in codes
        ]
    with pytest.raises(ValueError, match="compact"):
        trie.filtered(np.arange(5) > 1).spans(np.zeros((1, 1), np.int64))
