"""The kinds of tokenizers and their classes; no other module names the classes."""

from __future__ import annotations

from fuseid.core.config import TOKENIZER_SECTIONS, TokenizerConfig
from fuseid.core.protocols import Tokenizer
from fuseid.tokenizers.rq_kmeans import RQKMeans

TOKENIZERS: dict[str, type[Tokenizer]] = {RQKMeans.KIND: RQKMeans}


def register(tokenizer: type[Tokenizer], section: type[TokenizerConfig]) -> None:
    """Adds a kind that is not part of fuseid, in this process: `tokenizer.kind` then accepts its name.

    section: its config section. Raises ValueError if the kind is already registered.
    """
    if tokenizer.KIND in TOKENIZERS:
        raise ValueError(f"a tokenizer of kind {tokenizer.KIND} is registered already")
    TOKENIZERS[tokenizer.KIND] = tokenizer
    TOKENIZER_SECTIONS[tokenizer.KIND] = section
