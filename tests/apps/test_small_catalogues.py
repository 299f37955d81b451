"""Every command on catalogues of no item, of one, of items that are all alike, of nothing but rejected items and so on:
a right result, or one line that says what is the matter."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from fuseid.core.config import load_config
from fuseid.core.errors import FuseidError
from fuseid.pipelines.fit import fit
from fuseid.pipelines.ingest import ingest
from fuseid.pipelines.ingestion.runners import LocalRunner
from fuseid.pipelines.sources.open import open_source

PICTURE, FILM = {"content_id": "a", "uri": "a.png"}, {"content_id": "f", "uri": "f.mp4"}
# Rows of a manifest, and the sizes of codebooks: those of a catalogue that cannot be fitted are too large for it.
CATALOGUES: dict[str, tuple[list[dict[str, Any]], list[int]]] = {
    "nothing": ([], [1]),
    "one": ([PICTURE], [1]),
    "one unfitted": ([PICTURE], [4, 3]),
    "one film": ([FILM], [1]),
    "two": ([PICTURE, {"content_id": "b", "caption": "bee"}], [1]),
    "alike": ([{"content_id": name, "caption": "same"} for name in "abcd"], [1, 1]),
    "rejected": ([{"content_id": "a", "uri": "broken.png"}, {"content_id": "b", "uri": "missing.png"}], [1]),
    "captions": ([{"content_id": name, "caption": f"caption {name}"} for name in "abcdefgh"], [4, 3]),
    "kinds": ([PICTURE, FILM, {"content_id": "c", "caption": "sea"}], [2]),
}
FORMATS = ("parquet", "grid", "minionerec", "openonerec", "forge", "torcheasyrec", "static")
READ = [
    "lookup --id a", "lookup --text same", "lookup --image query.png", "lookup --sid 0", "explain a", "explain nobody",
    "lookup --text x --where content_id='b'", "report", "report --page report.html", "check", "rejected", "export tags",
    "maintain --dry-run", "plan manifest.jsonl", "plan manifest.jsonl --prune --vlm fake:8",
    "export trie --out trie", "export trie --out no --where content_id='nobody'", "export vocabulary --out words",
    "export sequences --interactions events.csv --out sequences", "backup --to kept", "neighbours --out near",
    *(f"export ids --format {name} --out {name}" for name in FORMATS),
]  # fmt: skip
WRITE = [
    "ingest manifest.jsonl --runner local", "fit", "assign", "retry", "promote rq-kmeans-0000000000000000",
    "gate --tokenizer rq-kmeans-0000000000000000",
    "adopt --ids ids.csv", "upgrade", "maintain", "remove --from gone.txt",
]  # fmt: skip
PYTHON_WORDS = re.compile(
    r"Traceback|object has no attribute|NoneType|out of range|KeyError|not subscriptable|FUSEID_DEBUG"
)

Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """-> the folder of a catalogue, with its database `db` as far as it can be made; nothing may change it."""
    there: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name in there:
            return there[name]
        folder = there[name] = tmp_path_factory.mktemp(name.replace(" ", "-"))
        rows, sizes = CATALOGUES[name]
        settings = {
            "clip": {"model": "fake:16", "batch_size": 8, "device": "cpu"}, "decode": {"workers": 1},
            "tokenizer": {"codebook_sizes": sizes, "iterations": 3}, "fusion": {"dim": 8},
        }  # fmt: skip
        (folder / "fuseid.yaml").write_text(yaml.safe_dump(settings))
        for file, colour in (("a.png", (9, 9, 9)), ("query.png", (1, 2, 3))):
            Image.new("RGB", (40, 30), colour).save(folder / file)
        (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
        if FILM in rows:
            film(folder / "f.mp4")
        (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        events = [f"u{n % 2},{item},{1714564800 + 60 * n}\n" for n, item in enumerate("ababcabab")]
        (folder / "events.csv").write_text("user_id,content_id,timestamp\n" + "".join(events))
        (folder / "ids.csv").write_text("content_id,sid\na,1-2\n")
        (folder / "gone.txt").write_text("a\n")
        config = load_config(folder / "fuseid.yaml")
        for step in (
            lambda: ingest(str(folder / "db"), open_source(folder / "manifest.jsonl"), config, LocalRunner()),
            lambda: fit(str(folder / "db"), config),
        ):
            try:
                step()
            except FuseidError:
                break
        return folder

    return make


def film(path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(6):
            pixels = np.full((48, 64, 3), 40 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        output.mux(stream.encode())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where `fuseid` runs: a copy of a catalogue goes there."""
    return tmp_path


def run(fuseid, command: str) -> tuple[int, str]:
    """-> the status and what was said, which is one line if the command failed."""
    status, out, err = fuseid(*command.split(), "--db", "db")
    assert not PYTHON_WORDS.search(err + out)
    if status:
        assert status in (1, 2, 4)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    return status, err or out


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUES)
@pytest.mark.parametrize("command", [*READ, *WRITE])
def test_every_command_has_a_result_or_one_line(fuseid, made, directory, name, command):
    shutil.copytree(made(name), directory, dirs_exist_ok=True)
    status, said = run(fuseid, command)
    has_items, has_ids = name not in ("nothing", "rejected"), name not in ("nothing", "rejected", "one unfitted")
    if command == "check" and name != "nothing":
        assert (status, "nothing" in said) == (0, True)
    if command.startswith(("lookup --text", "lookup --image")):
        assert (status == 0) == has_items
    if command == "export trie --out trie":
        assert (status == 0) == has_ids
    if command in ("fit", "assign"):
        assert (status == 0) == has_ids


@pytest.mark.parametrize("name", ["one", "alike"])
def test_an_item_whose_fused_vector_is_zero_is_compared_by_its_other_vectors(fuseid, made, directory, name):
    shutil.copytree(made(name), directory, dirs_exist_ok=True)
    status, out, err = fuseid("lookup", "--id", "a", "--db", "db", "--json")
    assert (status, err) == (0, "")
    found = {row["content_id"]: row["score"] for row in json.loads(out)}
    assert found == ({} if name == "one" else pytest.approx(dict.fromkeys("bcd", 1.0)))


@pytest.mark.parametrize("command", ["lookup --text a", "lookup --id a", "report", "export trie --out trie", "fit"])
def test_where_all_was_rejected_the_line_says_so(fuseid, made, directory, command):
    shutil.copytree(made("rejected"), directory, dirs_exist_ok=True)
    status, said = run(fuseid, command)
    assert status == 1
    assert "all 2 items were rejected, and `fuseid rejected --db db` shows why" in said
