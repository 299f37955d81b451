"""The kinds of tokenizers: the one place that names their classes."""

from __future__ import annotations

from fuseid.core.config import TOKENIZER_SECTIONS, TokenizerConfig
from fuseid.core.protocols import Tokenizer
from fuseid.tokenizers.rq_kmeans import RQKMeans

TOKENIZERS: dict[str, type[Tokenizer]] = {RQKMeans.KIND: RQKMeans}


def register(tokenizer: type[Tokenizer], section: type[TokenizerConfig]) -> None:
    """Adds a kind that is not part of fuseid, for this process: `tokenizer.kind` then takes its name.

    section: its keys in the config. Raises ValueError where the kind is registered already.
    """
    if tokenizer.KIND in TOKENIZERS:
        raise ValueError(f"a tokenizer of kind {tokenizer.KIND} is registered already")
    TOKENIZERS[tokenizer.KIND] = tokenizer
    TOKENIZER_SECTIONS[tokenizer.KIND] = section
