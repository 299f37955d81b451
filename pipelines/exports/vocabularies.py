"""The vocabulary of a snapshot's IDs as a file, with room for later collision digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuseid.core.artifacts import ArtifactInfo
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import new_file
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.tokenizers.two_vocabularies import TwoVocabularies
from fuseid.tokenizers.vocabulary import STYLES, Vocabulary, digits_for


def export_vocabulary(
    uri: str,
    out: str | Path,
    tokenizer_id: str | None = None,
    style: str = "minionerec",
    with_id: str | None = None,
) -> dict[str, Any]:
    """Writes the JSON file `out`; returns its content without the tokens.

    Digits: `digits_for` the largest that was ever given, so there are twice as many as are needed; a vocabulary with
    more begins with the same tokens, at the same ids. with_id: another tokenizer, whose tokens follow those of
    `tokenizer_id`, as `TwoVocabularies` says. Raises BadInput for a file that exists, an unknown style, and twice the
    same tokenizer.
    """
    out = Path(out)
    check_known("style of tokens", style, STYLES)
    snapshot = Snapshot.open(uri, tokenizer_id)
    vocabulary, largest = _of(snapshot, style)
    written: Vocabulary | TwoVocabularies = vocabulary
    facts: dict[str, Any] = {"largest_suffix": largest}
    if with_id is not None:
        other = snapshot.under(with_id, option("with_"))
        second, facts["largest_new_suffix"] = _of(other, style)
        written = TwoVocabularies.of(vocabulary, second, aligned(snapshot.tokenizer, other.tokenizer))
    with new_file(out) as scratch:
        written.save(scratch)
    document = written.document()
    del document["tokens"]
    return {**document, **facts}


def aligned(one: ArtifactInfo, other: ArtifactInfo) -> bool:
    """Whether one of two tokenizers was aligned to the other when it was fitted."""
    return any((a.meta.get("aligned_to") or {}).get("tokenizer") == b.id for a, b in ((one, other), (other, one)))


def _of(snapshot: Snapshot, style: str) -> tuple[Vocabulary, int]:
    """The vocabulary of a snapshot's tokenizer, and its largest suffix."""
    largest = snapshot.largest_suffix()
    return Vocabulary(snapshot.codebook_sizes, digits_for(largest), style, snapshot.tokenizer.id), largest
