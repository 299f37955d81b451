"""A source whose writer marks it as complete by a file `_SUCCESS` is refused until the mark is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fuseid.core.config import SourceConfig
from fuseid.core.errors import BadInput, NotReady
from fuseid.pipelines.sources.open import open_source
from fuseid.pipelines.sources.vectors import Vectors

NEEDED = SourceConfig(require_success=True)


def put(folder: Path) -> None:
    """One source of each kind, in folders of their own."""
    for name in ("manifest", "media", "shards/a", "shards/b", "vectors"):
        (folder / name).mkdir(parents=True)
    (folder / "manifest" / "m.csv").write_text("content_id,caption\na,x\n")
    (folder / "media" / "a.png").touch()
    for name in "ab":
        (folder / "shards" / name / f"{name}.tar").write_bytes(bytes(1024))
    np.save(folder / "vectors" / "v.npy", np.ones((1, 2)))
    (folder / "vectors" / "v.ids.txt").write_text("a\n")


@pytest.mark.parametrize(
    ("source", "marks"),
    [
        ("manifest/m.csv", ["manifest"]),
        ("media", ["media"]),
        ("shards/a", ["shards/a"]),
        ("shards/a/a.tar", ["shards/a"]),
        ("shards/{a,b}/*.tar", ["shards/a", "shards/b"]),
        ("vectors/v.npy", ["vectors"]),
    ],
)
def test_every_folder_of_a_source_needs_the_success_file(tmp_path, source, marks):
    put(tmp_path)
    opened = Vectors if source.startswith("vectors") else open_source
    opened(tmp_path / source)
    for mark in marks:
        with pytest.raises(NotReady, match=f"{mark} holds no file _SUCCESS, which source.require_success") as caught:
            opened(tmp_path / source, NEEDED)
        assert "\n" not in str(caught.value)
        (tmp_path / mark / "_SUCCESS").touch()
    opened(tmp_path / source, NEEDED)


def test_a_success_file_that_cannot_be_read_is_not_taken_for_missing(tmp_path):
    put(tmp_path)
    (tmp_path / "media" / "_SUCCESS").symlink_to("_SUCCESS")
    with pytest.raises(BadInput, match="cannot see whether"):
        open_source(tmp_path / "media", NEEDED)
