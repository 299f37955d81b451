"""The vocabulary of semantic IDs: a token for every code of every level, whether or not an item has it yet."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fuseid.core.errors import BadInput, unusable
from fuseid.core.names import check_known
from fuseid.core.reasons import reason
from fuseid.core.surface import command

FORMAT = 1
PADDED_TO = 64
PAD, EOS, BEGIN, END = "<pad>", "<eos>", "<|sid_begin|>", "<|sid_end|>"
_SPECIAL = (PAD, EOS, BEGIN, END)
# The level is a letter, from `a` on, as in the tokens of MiniOneRec and OpenOneRec.
STYLES = {"minionerec": "<{level}_{code}>", "openonerec": "<s_{level}_{code}>"}
_LETTERS = string.ascii_lowercase
_FEWEST_DIGITS = 16


def digits_for(largest_suffix: int) -> int:
    """Number of collision digits in a vocabulary, including 0 (none): a power of two, at least twice the number in
    use."""
    return max(_FEWEST_DIGITS, 1 << (2 * largest_suffix + 1).bit_length())


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in this order: pad, end of sequence, begin and end of an ID, then level by level each code, then the
    collision digits, of which 0 means none. More digits only add tokens at the end.

    codebook_sizes: codes per level. suffixes: number of collision digits, including 0; 0 for IDs without that level.
    style: one of `STYLES`. tokenizer_id: the tokenizer of the codes. text_ids, pad_and_eos: set by `bound_to`; without
    a text tokenizer the id of a token is its position. first_letter: which letter names the first level; not 0 for the
    second of two vocabularies in one (`two_vocabularies`). Raises BadInput for invalid sizes.
    """

    codebook_sizes: tuple[int, ...]
    suffixes: int = 0
    style: str = "minionerec"
    tokenizer_id: str | None = None
    text_ids: np.ndarray | None = field(default=None, compare=False, repr=False)
    pad_and_eos: tuple[int | None, int | None] = field(default=(0, 1), compare=False, repr=False)
    first_letter: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "codebook_sizes", tuple(int(size) for size in self.codebook_sizes))
        check_known("style of tokens", self.style, STYLES)
        if not self.codebook_sizes or min(self.codebook_sizes) < 1 or self.suffixes < 0:
            raise BadInput(f"no vocabulary has codebooks of {self.codebook_sizes} and {self.suffixes} digits")
        if self.first_letter + self.levels > len(_LETTERS):
            before = f" after {self.first_letter} of another tokenizer" * bool(self.first_letter)
            raise BadInput(f"tokens name at most {len(_LETTERS)} levels, got {self.levels} with the digit{before}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Tokens per level; the digits, if any, are the last level."""
        return (*self.codebook_sizes, self.suffixes) if self.suffixes else self.codebook_sizes

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes) + bool(self.suffixes)

    @cached_property
    def tokens(self) -> list[str]:
        """Every token, in order of position."""
        codes = [self.token(level, code) for level, size in enumerate(self.sizes) for code in range(size)]
        return [*_SPECIAL, *codes]

    def __len__(self) -> int:
        return len(_SPECIAL) + sum(self.sizes)

    @property
    def padded_size(self) -> int:
        """Rows for a model that has only these tokens: a multiple of `PADDED_TO`."""
        return padded(len(self))

    def token(self, level: int, code: int) -> str:
        """Raises BadInput for a code that the level lacks."""
        if not (0 <= level < self.levels and 0 <= code < self.sizes[level]):
            raise BadInput(f"level {level + 1} has no code {code}; the levels have {self.sizes}")
        return STYLES[self.style].format(level=_LETTERS[self.first_letter + level], code=code)

    # Ids

    @property
    def pad(self) -> int | None:
        return self.pad_and_eos[0]

    @property
    def eos(self) -> int | None:
        return self.pad_and_eos[1]

    @property
    def begin(self) -> int:
        """The id of the token before an ID, if a model's IDs have one."""
        return int(self._ids[0])

    @property
    def end(self) -> int:
        return int(self._ids[1])

    @property
    def largest_id(self) -> int:
        return int(self._ids.max())

    def level_ids(self, level: int) -> np.ndarray:
        """int64 [K]: the ids of a level's tokens, by code."""
        start = 2 + int(self._starts[level])
        return self._ids[start : start + self.sizes[level]]

    def ids(self, codes_NM: np.ndarray) -> np.ndarray:
        """Codes -> ids of tokens, int64 [N, M]. M: all levels, or all without the digit.

        Raises BadInput for other shapes, and for codes that a level lacks.
        """
        codes_NM = np.asarray(codes_NM)
        self._check_levels(codes_NM)
        for level, column in enumerate(codes_NM.T):
            if len(column) and not (column.min() >= 0 and column.max() < self.sizes[level]):
                wrong = column[(column < 0) | (column >= self.sizes[level])][0]
                again = command("export vocabulary", "DB", out="NEW_FILE")
                grown = f"; {again} gives one with more digits, which keeps all ids"
                raise BadInput(
                    f"level {level + 1} of this vocabulary has codes 0 to {self.sizes[level] - 1}, got {wrong}"
                    + grown * (level == len(self.codebook_sizes) and bool(wrong > 0))
                )
        return self._ids[2 + self._starts[: codes_NM.shape[1]] + codes_NM]

    def codes(self, ids_NM: np.ndarray) -> np.ndarray:
        """Ids of tokens -> codes, int64 [N, M]; -1 for a token that does not belong to its level. M: as for `ids`."""
        ids_NM = np.asarray(ids_NM)
        self._check_levels(ids_NM)
        out = np.full(ids_NM.shape, -1, np.int64)
        for level in range(ids_NM.shape[1]):
            known = self.level_ids(level)
            order = np.argsort(known)
            at = order[np.minimum(np.searchsorted(known[order], ids_NM[:, level]), len(order) - 1)]
            out[:, level] = np.where(known[at] == ids_NM[:, level], at, -1)
        return out

    @cached_property
    def _ids(self) -> np.ndarray:
        """The ids of all tokens except pad and end of sequence."""
        if self.text_ids is None:
            return np.arange(2, len(self), dtype=np.int64)
        return np.asarray(self.text_ids, np.int64)

    @cached_property
    def _starts(self) -> np.ndarray:
        """The index of each level's first code among all codes."""
        return np.cumsum([0, *self.sizes[:-1]], dtype=np.int64)

    def _check_levels(self, array_NM: np.ndarray) -> None:
        if array_NM.ndim != 2 or array_NM.shape[1] not in (len(self.codebook_sizes), self.levels):
            raise BadInput(
                f"IDs of this vocabulary are rows of {len(self.codebook_sizes)} codes"
                f"{' and a digit' * bool(self.suffixes)}, got an array of {list(array_NM.shape)}"
            )
        if array_NM.dtype.kind not in "iu":
            raise BadInput(f"codes are integers, got {array_NM.dtype}")

    # In a text tokenizer

    def bound_to(self, tokenizer: Any) -> Vocabulary:
        """The same vocabulary with the ids that a transformers tokenizer has for its tokens.

        Raises BadInput if the tokenizer lacks one of them, or has codes that this vocabulary lacks.
        """
        known = tokenizer.get_vocab()
        self._refuse_more(known)
        missing = [token for token in self.tokens[2:] if token not in known]
        if missing:
            raise BadInput(
                f"the text tokenizer lacks {len(missing)} of the {len(self) - 2} tokens of this vocabulary, the first "
                f"{missing[0]}; `add_to_tokenizer` adds them, or it belongs to another vocabulary"
            )
        ids = np.array([known[token] for token in self.tokens[2:]], np.int64)
        return replace(self, text_ids=ids, pad_and_eos=(tokenizer.pad_token_id, tokenizer.eos_token_id))

    def add_to_tokenizer(
        self,
        tokenizer: Any,
        model: Any,
        init: Literal["mean", "codebooks"] = "mean",
        codebooks: Sequence[np.ndarray] | None = None,
        seed: int = 0,
    ) -> Vocabulary:
        """Adds missing tokens to the tokenizer, and rows for them to the model's embeddings; returns
        `bound_to(tokenizer)`.

        tokenizer, model: of transformers; both are changed. The embeddings get a multiple of `PADDED_TO` rows, and
        never fewer than they have. init and codebooks: as for `embeddings.points`, for input and output embeddings. If
        no token is missing, nothing is changed. Raises BadInput if the two do not match, or the tokenizer has tokens of
        another vocabulary; nothing is changed then.
        """
        from fuseid.tokenizers.embeddings import extend, points, rows_of

        known = tokenizer.get_vocab()
        self._refuse_more(known)
        new = [token for token in self.tokens[2:] if token not in known]
        if new and new != self.tokens[len(self) - len(new) :]:
            raise BadInput(
                f"the text tokenizer lacks {new[0]} but has later tokens of this vocabulary: it belongs to another one"
            )
        before, rows = max(known.values()) + 1, rows_of(model)
        if rows < before:
            raise BadInput(
                f"the model has {rows} rows of embeddings and the text tokenizer {before} tokens; "
                "load the model that was saved with this tokenizer"
            )
        if not new:
            return self.bound_to(tokenizer)
        placed = points(init, codebooks, self.codebook_sizes, model, seed)
        from transformers import AddedToken

        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in new])
        bound = self.bound_to(tokenizer)
        codes = [(bound.level_ids(level), part) for level, part in enumerate(placed)]
        extend(model, before, max(rows, padded(bound.largest_id + 1)), codes)
        return bound

    def _refuse_more(self, known: Mapping[str, int]) -> None:
        style = STYLES[self.style]
        beyond = [style.format(level=_LETTERS[level], code=size) for level, size in enumerate(self.sizes)]
        if self.levels < len(_LETTERS):
            beyond.append(style.format(level=_LETTERS[self.levels], code=0))
        more = [token for token in beyond if token in known]
        if more:
            raise BadInput(
                f"the text tokenizer has {more[0]}, which this vocabulary lacks (its levels have {self.sizes}): "
                "take the vocabulary that was added to it"
            )

    # As a file

    def document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "tokenizer_id": self.tokenizer_id,
            "style": self.style,
            "codebook_sizes": list(self.codebook_sizes),
            "suffixes": self.suffixes,
            "special_tokens": {"pad": PAD, "eos": EOS, "begin": BEGIN, "end": END},
            "size": len(self),
            "padded_size": self.padded_size,
            "tokens": self.tokens,
        }

    def save(self, path: Path) -> None:
        """Writes one JSON file with all tokens in order of position, for any trainer to read."""
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Raises BadInput for a file that cannot be read, or whose tokens are not those of its sizes."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            sizes, suffixes, tokens = (document[key] for key in ("codebook_sizes", "suffixes", "tokens"))
            # Check this before any token is made, because a hostile size may be huge.
            if len(_SPECIAL) + sum(sizes) + suffixes != len(tokens):
                raise ValueError("its sizes are not those of its tokens")
            found = cls(tuple(sizes), suffixes, document["style"], document["tokenizer_id"])
            same = found.document() == document
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise unusable(f"cannot read the vocabulary {path}: {reason(error)}", error) from None
        if not same:
            raise BadInput(f"{path} was altered, or is of another version: its tokens are not those of its sizes")
        return found


def same_tokens(old: Vocabulary, new: Vocabulary) -> np.ndarray:
    """int64 [len(new)]: for each token of `new`, by position, the id that the token of the same level and code has in
    `old`, -1 if it has no such token. Digits belong to digits, and special tokens to themselves.

    Both are vocabularies without a text tokenizer.
    """
    found = np.full(len(new), -1, np.int64)
    found[: len(_SPECIAL)] = np.arange(len(_SPECIAL))
    levels = list(zip(range(len(old.codebook_sizes)), range(len(new.codebook_sizes)), strict=False))
    if old.suffixes and new.suffixes:
        levels.append((old.levels - 1, new.levels - 1))
    for in_old, in_new in levels:
        ids = old.level_ids(in_old)[: new.sizes[in_new]]
        start = len(_SPECIAL) + sum(new.sizes[:in_new])
        found[start : start + len(ids)] = ids
    return found


def padded(size: int) -> int:
    return -(-size // PADDED_TO) * PADDED_TO
