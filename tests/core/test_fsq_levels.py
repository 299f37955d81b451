"""Which levels make a codebook."""

from __future__ import annotations

import pytest

from fuseid.core.fsq_levels import levels_of


@pytest.mark.parametrize(
    ("size", "levels", "found"), [(256, None, (2,) * 8), (2, None, (2,)), (256, [8, 8, 4], (8, 8, 4)), (7, [7], (7,))]
)
def test_levels_make_the_codebook(size, levels, found):
    assert levels_of(size, levels) == found


@pytest.mark.parametrize(
    ("size", "levels", "said"),
    [
        (255, None, "power of two, not 255"),
        (1, None, "power of two, not 1"),
        (256, [8, 8, 2], "make 128 codes, but the codebook has 256"),
        (8, [8, 1], "at least 2 levels, not .8, 1."),
        (8, [], "at least one dimension"),
        (8, [-2, -4], "at least 2 levels"),
        (8, [2**16, 2**16], "make 4294967296 codes; at most 2147483647"),
        (8, [2**40] * 5, "at most 2147483647"),
    ],
)
def test_others_are_refused_in_one_line(size, levels, said):
    with pytest.raises(ValueError, match=said) as caught:
        levels_of(size, levels)
    assert "\n" not in str(caught.value)
