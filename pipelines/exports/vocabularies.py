"""The vocabulary of a snapshot's IDs as a file, with room for later collision digits."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from fuseid.core.errors import BadInput, unusable
from fuseid.core.names import check_known
from fuseid.core.surface import option
from fuseid.pipelines.exports.folder import scratch_prefix
from fuseid.pipelines.exports.snapshot import Snapshot
from fuseid.tokenizers.vocabulary import STYLES, Vocabulary, digits_for


def export_vocabulary(
    uri: str, out: str | Path, tokenizer_id: str | None = None, style: str = "minionerec"
) -> dict[str, Any]:
    """Writes the JSON file `out`; returns its content without the tokens.

    Digits: `digits_for` the largest that was ever given, so there are twice as many as are needed; a vocabulary with
    more begins with the same tokens, at the same ids. Raises BadInput for a file that exists, and an unknown style.
    """
    out = Path(out)
    check_known("style of tokens", style, STYLES)
    snapshot = Snapshot.open(uri, tokenizer_id)
    largest = snapshot.largest_suffix()
    vocabulary = Vocabulary(snapshot.codebook_sizes, digits_for(largest), style, snapshot.tokenizer.id)
    try:
        if out.exists():
            raise BadInput(f"{out} exists; choose another {option('out')} or remove it")
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=scratch_prefix(out), dir=out.parent)
    except OSError as error:
        raise unusable(
            f"cannot write {out}: {error.strerror or error}; choose another {option('out')}", error
        ) from None
    os.close(handle)
    try:
        vocabulary.save(Path(scratch))
        # mkstemp makes files that only their owner can read.
        os.chmod(scratch, 0o644)
        os.rename(scratch, out)
    except BaseException:
        Path(scratch).unlink()
        raise
    document = vocabulary.document()
    del document["tokens"]
    return {**document, "largest_suffix": largest}
