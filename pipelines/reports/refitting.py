"""A tokenizer like another one, fitted on a report's sample, to compare with."""

from __future__ import annotations

import numpy as np

from fuseid.core.artifacts import encodes
from fuseid.core.config import TOKENIZER_SECTIONS
from fuseid.core.errors import FuseidError
from fuseid.core.protocols import Tokenizer
from fuseid.core.surface import option
from fuseid.tokenizers.registry import TOKENIZERS

# A fit of so many multiplications takes about a minute on two cores.
_MOST_WORK = 1e12
# An epoch of training takes about as long as so many iterations of k-means.
_EPOCH_WORK = 10


def refitted_codes(tokenizer: Tokenizer, vectors_SD: np.ndarray, seed: int) -> tuple[np.ndarray | None, str]:
    """-> the codes of vectors under a tokenizer of the same kind and settings, fitted on them with this seed and
    without a start; or None and why it was not fitted."""
    meta, (items, dim) = tokenizer.meta, vectors_SD.shape
    if not encodes(tokenizer) or tokenizer.KIND not in TOKENIZERS or not dim:
        return None, f"no tokenizer of kind {tokenizer.KIND} can be fitted"
    passes = meta.get("iterations", 1) + _EPOCH_WORK * meta.get("epochs", 0)
    work = float(items) * dim * sum(tokenizer.codebook_sizes) * passes
    if work > _MOST_WORK:
        return None, f"a fit on {items:,} items takes minutes; a smaller {option('sample')} allows it"
    section = TOKENIZER_SECTIONS[tokenizer.KIND]
    known = {name: meta[name] for name in section.model_fields if name in meta and name != "kind"}
    try:
        config = section.model_validate({**known, "kind": tokenizer.KIND, "seed": seed})
        fitted = TOKENIZERS[tokenizer.KIND].fit(
            vectors_SD, config.codebook_sizes, seed=config.seed, fusion=meta["fusion"], **config.options()
        )
    except FuseidError as error:
        return None, str(error)
    return fitted.encode(vectors_SD), ""
