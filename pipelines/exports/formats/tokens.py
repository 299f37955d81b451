"""The tokens of IDs as in the vocabulary, in tables of the texts of all codes."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
import pyarrow as pa

from fuseid.pipelines.exports.columns import joined
from fuseid.tokenizers.vocabulary import STYLES


def token_tables(style: str, sizes: Sequence[int], quote: str = "", between: str = "") -> list[pa.Array]:
    """For each level the token of each code, large_string [size]; with `between` before it, except on the first
    level."""
    tables = []
    for level, size in enumerate(sizes):
        before, behind = STYLES[style].format(level=ascii_lowercase[level], code="\n").split("\n")
        lead = (between if level else "") + quote
        tables.append(joined(lead + before, np.arange(size), behind + quote))
    return tables
