"""A plan of media on servers: their sizes as far as these say them, and the reasons that only a network gives."""

from __future__ import annotations

import json

import pytest

from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.plan import plan
from fuseid.pipelines.sources.open import open_source


@pytest.fixture
def both(bare, site):
    """Plans and ingests a manifest of the site; -> the plan, the run."""
    web = {"schemes": ["http"], "private_hosts": True, "timeout_seconds": 20}
    config = bare.settings(clip={"model": "fake:16"}, source=web, run={"max_rejected": "100%"})

    def do(rows):
        uri = site.put("items.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        planned = plan(bare.uri(), open_source(uri, config.source), config)
        site.requests.clear()
        run = ingest(bare.uri(), open_source(uri, config.source), config, LocalRunner())
        names = [name for name in planned.counts if name.startswith(("planned", "to_", "listed"))]
        assert {name: planned.counts[name] for name in names} == {name: run.counts[name] for name in names}
        return planned, run

    return do


def test_what_a_server_does_not_say_is_counted_as_unknown(bare, site, both, respond):
    pictures = {}
    for number, name in enumerate(("tagged", "bare", "unsized", "refused", "down")):
        pictures[name] = (bare.media / bare.picture(f"{name}.bmp", number, (8, 8))).read_bytes()
        site.put(f"{name}.bmp", pictures[name])
    site.answer("bare.bmp", respond(200, pictures["bare"]))
    site.answer("unsized.bmp", respond(200, pictures["unsized"], length=None))
    served = respond(405)
    site.answer("refused.bmp", lambda on: (served if on.command == "HEAD" else site._file)(on))
    site.answer("down.bmp", respond(503))
    rows = [{"content_id": name, "uri": f"{name}.bmp", "caption": name} for name in pictures]

    planned, run = both(rows)
    size = len(pictures["tagged"])
    fetch = planned.fetch
    assert (fetch.items, fetch.bytes, fetch.remote_bytes) == (2, 2 * size, 2 * size)
    assert (fetch.unsized, fetch.unreachable) == (2, 1)
    assert (run.counts["committed"], run.counts["rejected"]) == (4, 1)

    planned, run = both(rows)
    assert {each.reason: (each.items, each.first) for each in planned.reasons} == {
        "unversioned": (2, ["bare", "unsized"]), "fetch_failed": (1, ["down"]),
    }  # fmt: skip
    assert (planned.counts["unchanged"], run.counts["unchanged"]) == (2, 4)
    site.answer("down.bmp", site._file)
    planned, run = both(rows)
    assert [each.reason for each in planned.reasons] == ["unversioned", "rejected_changed"]
