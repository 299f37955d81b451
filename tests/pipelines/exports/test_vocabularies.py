"""The file of a vocabulary: complete or absent, under any valid file name."""

from __future__ import annotations

import pytest

from fuseid.core.errors import BadInput
from fuseid.pipelines.exports.vocabularies import export_vocabulary
from fuseid.tokenizers.vocabulary import Vocabulary

# A name has 255 bytes at most; these have three a letter.
LONG = "\u9805" * 85


def test_the_longest_file_name_is_written_and_a_longer_one_refused(fitted, tmp_path):
    folder = tmp_path / "out"
    manifest = export_vocabulary(fitted.uri(), folder / LONG)
    assert len(Vocabulary.load(folder / LONG).tokens) == manifest["size"]
    with pytest.raises(BadInput, match="cannot write"):
        export_vocabulary(fitted.uri(), folder / f"{LONG}a")
    with pytest.raises(BadInput, match="exists; choose another out="):
        export_vocabulary(fitted.uri(), folder / LONG)
    assert [path.name for path in folder.iterdir()] == [LONG]
