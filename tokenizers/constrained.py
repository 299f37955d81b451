"""Constrained decoding: a transformers logits processor over a trie of IDs, so that a model generates only existing
IDs.

At each step, the trie node of every beam is computed from the beam's last tokens, for all beams together: one binary
search of (parent, token) per level, then one gather for the children. No state is kept between steps, so reordering
beams is safe, and nothing waits for the device. Su et al. 2026 (STATIC) showed that a trie in flat arrays is fast on
accelerators.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from transformers import LogitsProcessor

from fuseid.core.errors import BadInput
from fuseid.core.surface import command
from fuseid.tokenizers.trie import Trie
from fuseid.tokenizers.vocabulary import Vocabulary

# The score that transformers' beam search gives to a beam that must not win; a sum of several is still finite.
_LOWEST = -1e9
# Sets of tokens that may come next, by the kind of the last token. _INSIDE is empty: the trie gives the tokens.
_INSIDE, _FIRST, _CLOSE, _AFTER, _OUTSIDE, _STOP = range(6)


@dataclass(frozen=True)
class _Tables:
    """A trie and a vocabulary on a device. Nodes are numbered across all depths. keys: per level, parent * slots +
    slot, ascending. bases: the first node of each depth. first: for each node except leaves, its first child."""

    keys: list[torch.Tensor]
    bases: torch.Tensor
    first: torch.Tensor
    depth_V: torch.Tensor
    slot_V: torch.Tensor
    next_V: torch.Tensor


class ConstrainedLogits(LogitsProcessor):
    """Keeps, in every row of logits, the tokens that lead to an ID of the trie, and sets all others to -inf.

    Tokens allowed outside an ID:
    - By default none: the first generated token starts an ID, whatever comes before it, and the end of the sequence
      follows the ID's last code. This suits an encoder-decoder, and a prompt whose answer must be one ID.
    - `brackets`: an ID is enclosed in the vocabulary's `begin` and `end`, which are forced at their places; a prompt
      may end with `begin`, or in the middle of an ID.
    - `more`: further IDs may follow, any number of them. This is also needed if a prompt ends with a complete ID and
      there are no brackets.
    - `text`: tokens that are not codes are allowed outside IDs.

    Every row keeps at least one finite token, also for beams that have ended, and if other processors have left none
    (-1e9 then). A prefix that no item has (in the prompt, or sampled at -inf by a beam search with fewer candidates
    than beams) is treated like a complete ID. Raises BadInput for a trie without items or with codes that the
    vocabulary lacks, for a trie and a vocabulary of different tokenizers, and if nothing could follow an ID.
    """

    def __init__(
        self, trie: Trie, vocabulary: Vocabulary, *, brackets: bool = False, more: bool = False, text: bool = False
    ) -> None:
        _check_match(trie, vocabulary)
        if vocabulary.eos is None and not more and not text:
            raise BadInput("nothing may follow an ID: the text tokenizer has no end of sequence; set more or text")
        self._trie = trie
        self._vocabulary = vocabulary
        self._brackets, self._more, self._text = brackets, more, text
        # One slot for each code of each level, and one for all other tokens.
        self._slots = sum(vocabulary.sizes) + 1
        self._bases = np.cumsum([0, 1, *map(len, trie.entries[:-1])], dtype=np.int64)
        counts = [int(np.diff(offsets).max()) for offsets in trie.offsets[1:-1]]
        self._widest = max(counts, default=0)
        self._tokens = self._alive_tokens(trie)
        self._tables: dict[tuple[torch.device, int], _Tables] = {}
        self._own: dict[tuple[torch.device, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def filtered(self, keep: np.ndarray) -> ConstrainedLogits:
        """The same over a filtered view of the trie; tensors on devices are shared. keep: as for `Trie.filtered`."""
        trie = self._trie.filtered(keep)
        if not trie.item_count:
            raise BadInput("the filter leaves no item: nothing could be generated")
        other = copy(self)
        other._trie, other._tokens, other._own = trie, other._alive_tokens(trie), {}
        return other

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids int64 [B, T], prompt and generated tokens, T may be 0; scores float [B, V] -> float [B, V].

        Raises BadInput if V is smaller than the vocabulary's token ids need.
        """
        key = (scores.device, scores.shape[1])
        if key not in self._tables:
            self._tables[key] = self._on(*key)
        if key not in self._own:
            self._own[key] = (self._sets(*key), torch.from_numpy(self._tokens).to(key[0]))
        sets_SV, tokens = self._own[key]
        if input_ids.shape[1] == 0:
            allowed = sets_SV[_OUTSIDE, :-1].expand(scores.shape)
        else:
            allowed = self._allowed(self._tables[key], sets_SV, tokens, input_ids)
        lowest = max(_LOWEST, torch.finfo(scores.dtype).min)
        return torch.where(allowed, scores.clamp_min(lowest), float("-inf"))

    def _allowed(
        self, on: _Tables, sets_SV: torch.Tensor, tokens: torch.Tensor, input_ids: torch.Tensor
    ) -> torch.Tensor:
        """bool [B, V]."""
        length, levels = input_ids.shape[1], self._trie.levels
        last_B = input_ids[:, -1]
        next_B = on.next_V[last_B]
        if length == 1:
            # If a decoder starts with the end-of-sequence token, this does not end the sequence.
            next_B = torch.where(next_B == _STOP, _OUTSIDE, next_B)
        if levels == 1:
            return sets_SV[next_B][:, :-1]
        depth_B = on.depth_V[last_B]
        places = (length - depth_B[:, None] + torch.arange(levels - 1, device=last_B.device)).clamp(0, length - 1)
        slots = on.slot_V[input_ids.gather(1, places)]
        inside_B = (depth_B > 0) & (depth_B < levels)
        node_B = torch.zeros_like(last_B)
        for level, keys in enumerate(on.keys):
            wanted = node_B * self._slots + slots[:, level]
            at = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
            deeper = depth_B > level
            inside_B = inside_B & ((keys[at] == wanted) | ~deeper)
            node_B = torch.where(deeper, at, node_B)
        node_B = torch.where(inside_B, node_B + on.bases[depth_B], 0)
        # Nodes that a view hides have no token.
        inside_B = inside_B & (tokens[node_B] >= 0)
        first_B = on.first[node_B]
        children = first_B[:, None] + torch.arange(self._widest, device=last_B.device)
        is_child = (children < on.first[node_B + 1][:, None]) & inside_B[:, None]
        token = tokens[children.clamp_max(len(tokens) - 1)]
        # The extra last column receives children that do not exist.
        token = torch.where(is_child & (token >= 0), token, sets_SV.shape[1] - 1)
        return sets_SV[torch.where(inside_B, _INSIDE, next_B)].scatter_(1, token, True)[:, :-1]

    def _alive_tokens(self, trie: Trie) -> np.ndarray:
        """int64 [nodes]: the token that leads to each node, -1 for hidden ones; unused for the root."""
        parts = [np.zeros(1, np.int64)]
        for level, codes in enumerate(trie.entries[:-1]):
            tokens = self._vocabulary.level_ids(level)[codes]
            parts.append(tokens if trie.alive is None else np.where(trie.alive[level], tokens, -1))
        return np.concatenate(parts)

    def _on(self, device: torch.device, columns: int) -> _Tables:
        vocabulary, trie = self._vocabulary, self._trie
        if columns <= vocabulary.largest_id:
            raise BadInput(
                f"the model has logits of {columns} tokens, the vocabulary needs {vocabulary.largest_id + 1}; "
                "`add_to_tokenizer` resizes it, or it was trained with another vocabulary"
            )
        starts = np.cumsum([0, *vocabulary.sizes])
        depth_V, slot_V = np.zeros(columns, np.int64), np.full(columns, self._slots - 1)
        next_V = np.full(columns, _OUTSIDE)
        if vocabulary.eos is not None:
            next_V[vocabulary.eos] = _STOP
        if self._brackets:
            next_V[vocabulary.begin], next_V[vocabulary.end] = _FIRST, _AFTER
        for level in range(vocabulary.levels):
            ids = vocabulary.level_ids(level)
            # Inside an ID that is in the trie, its children replace this.
            next_V[ids] = _CLOSE
            slot_V[ids] = starts[level] + np.arange(len(ids))
            depth_V[ids] = level + 1 if level < trie.levels else 0
        keys = []
        for level, (offsets, codes) in enumerate(zip(trie.offsets[:-2], trie.entries[:-2], strict=True)):
            parents = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
            keys.append(parents * self._slots + starts[level] + codes)
        first = [base + offsets[:-1] for base, offsets in zip(self._bases[1:-1], trie.offsets[:-1], strict=True)]
        arrays = (self._bases, np.append(np.concatenate(first), len(self._tokens)), depth_V, slot_V, next_V)
        return _Tables([_tensor(key, device) for key in keys], *(_tensor(array, device) for array in arrays))

    def _sets(self, device: torch.device, columns: int) -> torch.Tensor:
        """bool [6, V + 1]; the last column is not a token."""
        vocabulary = self._vocabulary
        free = np.ones(columns, bool)
        free[[vocabulary.begin, vocabulary.end]] = False
        for level in range(vocabulary.levels):
            free[vocabulary.level_ids(level)] = False
        roots = self._tokens[1 : self._bases[2]]
        sets = np.zeros((6, columns + 1), bool)
        sets[_FIRST, roots[roots >= 0]] = True
        starts = sets[_FIRST].copy()
        if self._brackets:
            starts[:] = False
            starts[vocabulary.begin] = True
        sets[_OUTSIDE] = starts
        if vocabulary.eos is not None:
            sets[[_AFTER, _STOP], vocabulary.eos] = True
        if self._more:
            sets[_AFTER] |= starts
        if self._text:
            sets[[_OUTSIDE, _AFTER], :-1] |= free
        if self._brackets:
            sets[_CLOSE, vocabulary.end] = True
        else:
            sets[_CLOSE] = sets[_AFTER]
        return torch.from_numpy(sets).to(device)


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device)


def _check_match(trie: Trie, vocabulary: Vocabulary) -> None:
    trie.check()
    if not trie.item_count:
        raise BadInput("the trie has no item: nothing could be generated with it")
    if trie.tokenizer_id and vocabulary.tokenizer_id and trie.tokenizer_id != vocabulary.tokenizer_id:
        raise BadInput(f"the trie is of {trie.tokenizer_id}, the vocabulary of {vocabulary.tokenizer_id}")
    if trie.levels not in (len(vocabulary.codebook_sizes), vocabulary.levels):
        raise BadInput(f"the trie has IDs of {trie.levels} codes, the vocabulary has levels of {vocabulary.sizes}")
    for level, (codes, size) in enumerate(zip(trie.entries[:-1], vocabulary.sizes, strict=False)):
        if codes.max() >= size:
            raise BadInput(
                f"the trie has code {codes.max()} at level {level + 1}, where the vocabulary has {size}; "
                f"{command('export vocabulary', 'DB', out='NEW_FILE')} gives one with more digits, or they are of "
                "two tokenizers"
            )
