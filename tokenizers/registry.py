"""The kinds of tokenizers and their classes; no other module names the classes that can be fitted."""

from __future__ import annotations

from fuseid.core.config import TOKENIZER_SECTIONS, TokenizerConfig
from fuseid.core.protocols import FittedTokenizer, Tokenizer
from fuseid.tokenizers.adopted import Adopted
from fuseid.tokenizers.fsq import FSQ
from fuseid.tokenizers.rq_kmeans import RQKMeans
from fuseid.tokenizers.rq_vae import RQVAE

# The kinds that `tokenizer.kind` can name, the same as in TOKENIZER_SECTIONS.
TOKENIZERS: dict[str, type[FittedTokenizer]] = {RQKMeans.KIND: RQKMeans, RQVAE.KIND: RQVAE, FSQ.KIND: FSQ}


def class_of(kind: str) -> type[Tokenizer]:
    """The class that loads the tokenizers of a kind: one that can be fitted, or that of adopted IDs."""
    return Adopted if kind == Adopted.KIND else TOKENIZERS[kind]


def register(tokenizer: type[FittedTokenizer], section: type[TokenizerConfig]) -> None:
    """Adds a kind that is not part of fuseid, in this process: `tokenizer.kind` then accepts its name.

    section: its config section. Raises ValueError if the kind is already registered.
    """
    if tokenizer.KIND in (*TOKENIZERS, Adopted.KIND):
        raise ValueError(f"a tokenizer of kind {tokenizer.KIND} is registered already")
    TOKENIZERS[tokenizer.KIND] = tokenizer
    TOKENIZER_SECTIONS[tokenizer.KIND] = section
