"""The tokens of IDs as in the vocabulary, in tables of the texts of all codes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import joined
from fuseid.tokenizers.vocabulary import STYLES


def token_tables(
    style: str, sizes: Sequence[int], quote: str = "", between: str = "", digit_0: bool = True
) -> list[pa.Array]:
    """For each level the token of each code, large_string [size]; with `between` before it, except on the first level.
    digit_0: whether code 0 of the last level, the digit of the bare ID, has a token, or an empty text."""
    tables = []
    for level, size in enumerate(sizes):
        before, behind = STYLES[style].format(level=ascii_lowercase[level], code="\n").split("\n")
        lead = (between if level else "") + quote
        tables.append(joined(lead + before, np.arange(size), behind + quote))
    if not digit_0:
        tables[-1] = pa.concat_arrays([pa.array([""], pa.large_string()), tables[-1].slice(1)])
    return tables
