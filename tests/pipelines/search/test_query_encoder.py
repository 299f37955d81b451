"""Queries are encoded by parts that stay open from query to query."""

from __future__ import annotations

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
