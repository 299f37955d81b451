"""Queries are encoded by parts that stay open from query to query."""

from __future__ import annotations

import subprocess
import sys

from fuseid.pipelines.lookup import Catalog


def test_pictures_are_decoded_by_one_process_until_the_catalogue_is_closed(workspace, monkeypatch):
    from fuseid.encoders.decode_process import DecodeProcess

    started = []
    start = DecodeProcess._start
    monkeypatch.setattr(DecodeProcess, "_start", lambda self, *args: (started.append(self), start(self, *args))[1])
    rows = [{"content_id": f"p{i}", "uri": workspace.picture(f"{i}.png", i)} for i in range(3)]
    workspace.ingest(rows)
    catalog: Catalog = workspace.catalog()
    started.clear()
    found = [catalog.search(image=workspace.media / f"{i}.png", k=1)["content_id"].to_pylist() for i in range(3)]
    assert found == [["p0"], ["p1"], ["p2"]]
    assert len(started) == 1
    catalog.close()
    assert catalog.search(image=workspace.media / "1.png", k=1)["content_id"].to_pylist() == ["p1"]
    assert len(started) == 2
    catalog.close()


def test_for_words_only_the_text_tower_is_loaded(workspace):
    """The bundled CLIP, in a process of its own: `open_clip` with its picture towers is not imported, nor decoders."""
    workspace.ingest(workspace.captions(5), config=workspace.settings(clip={"model": "builtin:mini-clip"}))
    program = (
        "import sys; from fuseid.pipelines.lookup import Catalog\n"
        "catalog = Catalog.open(sys.argv[1])\n"
        "for text in ('first words', 'second words'): assert catalog.search(text=text, k=3).num_rows == 3\n"
        "print(*sorted({'torchvision', 'open_clip.model', 'av', 'decord', 'PIL'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program, workspace.uri()], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
