"""Two vocabularies in one, of an old tokenizer and a new one, so that a model of the old IDs can learn the new ones."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fuseid.core.errors import BadInput, unusable
from fuseid.core.names import check_known
from fuseid.core.reasons import reason
from fuseid.tokenizers.vocabulary import BEGIN, END, EOS, FORMAT, PAD, Vocabulary, padded, same_tokens

KIND = "both"
_SPECIAL = 4


@dataclass(frozen=True)
class TwoVocabularies:
    """Tokens in this order: all of `old`, at the same ids, then the codes and digits of `new`, level by level. Special
    tokens are those of both, and the letters of the new levels follow those of the old ones.

    old, new: `new` has the ids that its tokens have here, so `new.ids` and `new.codes` are for the enlarged model.
    aligned: whether one tokenizer was aligned to the other, so that equal codes mean similar content.
    """

    old: Vocabulary
    new: Vocabulary
    aligned: bool

    @classmethod
    def of(cls, old: Vocabulary, new: Vocabulary, aligned: bool) -> TwoVocabularies:
        """old, new: without a text tokenizer. Raises BadInput for two styles, and for more levels than letters."""
        if old.style != new.style:
            raise BadInput(f"both vocabularies have one style of tokens, got {old.style} and {new.style}")
        codes = len(old) + np.arange(len(new) - _SPECIAL)
        ids = np.concatenate([[old.begin, old.end], codes]).astype(np.int64)
        return cls(old, replace(new, first_letter=old.levels, text_ids=ids), aligned)

    @property
    def tokens(self) -> list[str]:
        """Every token, in order of its id."""
        return [*self.old.tokens, *self.new.tokens[_SPECIAL:]]

    def __len__(self) -> int:
        return len(self.old) + len(self.new) - _SPECIAL

    @property
    def padded_size(self) -> int:
        """Rows of embeddings for a model that has only these tokens."""
        return padded(len(self))

    @cached_property
    def old_of_new(self) -> np.ndarray:
        """int64 [new codes and digits]: for each token of the new tokenizer, from id `len(old)` on, the id of the old
        token of the same level and code, -1 without such a token, and for all if the tokenizers are not aligned."""
        same = same_tokens(self.old, self.new)[_SPECIAL:]
        return same if self.aligned else np.full_like(same, -1)

    @property
    def rows_of_new(self) -> np.ndarray:
        """int64 [len(new)]: the ids here of all tokens of the new tokenizer's own vocabulary, by their ids there."""
        return np.concatenate([np.arange(2), self.new._ids])

    # A model of IDs alone

    def enlarge(self, model: Any) -> None:
        """Gives a model that was trained with the old vocabulary rows for the new tokens: each begins as the row of its
        `old_of_new`, or as the mean of the old rows.

        model: of transformers, with the ids of the old vocabulary; it gets `padded_size` rows, or keeps more. Input and
        output embeddings are changed, tied or not. Raises BadInput for a model with fewer rows than the old vocabulary
        has tokens.
        """
        from fuseid.tokenizers.embeddings import copy_rows, extend, rows_of

        if rows_of(model) < len(self.old):
            raise BadInput(
                f"the model has {rows_of(model)} rows of embeddings and the old vocabulary {len(self.old)} tokens; "
                "it was not trained with this vocabulary"
            )
        extend(model, len(self.old), max(rows_of(model), self.padded_size), [])
        known = self.old_of_new >= 0
        copy_rows(model, self.old_of_new[known], len(self.old) + np.flatnonzero(known))

    def keep_new(self, model: Any) -> None:
        """Reduces an enlarged model to the rows of the new tokens, in the order of the new tokenizer's own vocabulary,
        with whose ids it goes on."""
        from fuseid.tokenizers.embeddings import copy_rows

        copy_rows(model, self.rows_of_new, np.arange(len(self.new)))
        model.resize_token_embeddings(self.new.padded_size, mean_resizing=False)

    # As a file

    def document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "kind": KIND,
            "style": self.old.style,
            "special_tokens": {"pad": PAD, "eos": EOS, "begin": BEGIN, "end": END},
            "old": _part(self.old),
            "new": _part(self.new),
            "aligned": self.aligned,
            "old_of_new": self.old_of_new.tolist() if self.aligned else None,
            "size": len(self),
            "padded_size": self.padded_size,
            "tokens": self.tokens,
        }

    def save(self, path: Path) -> None:
        """Writes one JSON file with all tokens in order of their ids, for any trainer to read."""
        path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> TwoVocabularies:
        """Raises BadInput for a file that cannot be read, or whose tokens are not those of its sizes."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            parts = [document[side] for side in ("old", "new")]
            check_known("kind of vocabulary", str(document.get("kind")), [KIND])
            # Check this before any token is made, because a hostile size may be huge.
            codes = sum(sum(part["codebook_sizes"]) + part["suffixes"] for part in parts)
            if _SPECIAL + codes != len(document["tokens"]):
                raise ValueError("its sizes are not those of its tokens")
            old, new = (
                Vocabulary(tuple(part["codebook_sizes"]), part["suffixes"], document["style"], part["tokenizer_id"])
                for part in parts
            )
            found = cls.of(old, new, bool(document["aligned"]))
            same = found.document() == document
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise unusable(f"cannot read the vocabulary {path}: {reason(error)}", error) from None
        if not same:
            raise BadInput(f"{path} was altered, or is of another version: its tokens are not those of its sizes")
        return found


def _part(vocabulary: Vocabulary) -> dict[str, Any]:
    """level_starts: the id of each level's first token; that of code c is c more. The digits are the last level."""
    return {
        "tokenizer_id": vocabulary.tokenizer_id,
        "codebook_sizes": list(vocabulary.codebook_sizes),
        "suffixes": vocabulary.suffixes,
        "level_starts": [int(vocabulary.level_ids(level)[0]) for level in range(vocabulary.levels)],
    }
