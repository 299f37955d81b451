"""The usage examples run as their first lines say, and do what they promise."""

from __future__ import annotations

import itertools
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fuseid.api import Catalog, Config, SemanticId, open_tokenizer
from fuseid.core.config import TOKENIZER_SECTIONS
from fuseid.core.errors import BadInput
from fuseid.tokenizers.registry import TOKENIZERS

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
SAMPLE = ROOT / "assets" / "sample" / "images"
COLOURS = Config.model_validate({"clip": {"model": "python:own_encoder:ColourNames"}})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the sample."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted(SAMPLE.iterdir())[::7]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs an example as a script, in this process; -> the lines that it prints."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def run(name: str, *arguments: Path) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


def test_an_encoder_of_the_users_encodes_items_and_queries(
    run: Callable[..., list[str]], tmp_path: Path, pictures: Path
) -> None:
    lines = run("own_encoder.py", tmp_path, pictures)
    names = [path.name for path in pictures.iterdir()]
    assert lines[0] == f"{len(names)} pictures encoded by colour-names-1"
    catalog = Catalog.open(tmp_path / "db", COLOURS)
    rows = catalog.items(names, ["content_id", "clip_fp", "clip_image"])
    assert {row["clip_fp"] for row in rows} == {"colour-names-1"}
    reddest = max(rows, key=lambda row: row["clip_image"][3])["content_id"]
    assert catalog.search(text="red", k=1)["content_id"].to_pylist() == [reddest]
    assert catalog.search(image=pictures / reddest, k=1)["content_id"].to_pylist() == [reddest]

    # Without the configuration the database would have to choose what is imported; what needs no encoder still works.
    catalog = Catalog.open(tmp_path / "db")
    with pytest.raises(BadInput, match="python:own_encoder:ColourNames, which is not imported"):
        catalog.search(text="red")
    assert catalog.search(like=reddest, k=3).num_rows == 3


@pytest.mark.slow
def test_an_encoder_of_the_users_is_found_by_the_workers_of_a_cluster(tmp_path: Path, pictures: Path) -> None:
    code = (
        "import sys; from fuseid.api import Config, ingest\n"
        "config = Config.model_validate({'clip': {'model': 'python:own_encoder:ColourNames'}})\n"
        "print(ingest(sys.argv[1], sys.argv[2], config, runner='ray').counts['committed'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "db", pictures],
        env={**os.environ, "PYTHONPATH": str(EXAMPLES)}, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(len(list(pictures.iterdir())))], done.stderr
    found = Catalog.open(tmp_path / "db", COLOURS).items([min(path.name for path in pictures.iterdir())], ["clip_fp"])
    assert found == [{"clip_fp": "colour-names-1"}]


@pytest.mark.slow
def test_a_source_of_the_users_is_ingested_and_followed(run: Callable[..., list[str]], tmp_path: Path) -> None:
    first, second, found = run("own_source.py", tmp_path / "new")
    assert first == "first:  6 listed, 0 unchanged, 6 committed"
    assert second == "second: 5 listed, 4 unchanged, 1 committed, 1 pruned"
    assert found == 'found:  sku-3, A birthday cake with candles. {"price":35}'
    captions = Catalog.open(tmp_path / "new" / "db").items(["sku-5", "sku-6"], ["content_id", "caption"])
    assert captions == [{"content_id": "sku-5", "caption": "A broom of birch twigs."}]


@pytest.fixture
def unregistered() -> Iterator[None]:
    """What an example registers is forgotten after the test."""
    yield
    del TOKENIZERS["product"], TOKENIZER_SECTIONS["product"]


@pytest.mark.slow
def test_a_tokenizer_of_the_users_becomes_champion_beside_one_of_another_kind(
    run: Callable[..., list[str]], unregistered: None, tmp_path: Path, pictures: Path
) -> None:
    lines = run("own_tokenizer.py", tmp_path, pictures)
    tokenizer = open_tokenizer(tmp_path / "db")
    assert lines[0].startswith(f"champion {tokenizer.id} on fusion-")
    assert tokenizer.id.startswith("product-")
    assert any(line.startswith("candidate rq-kmeans-") for line in lines)
    for line in lines[-3:]:
        _, sid, codes = re.fullmatch(r"(.*): (.*), encoded again: (.*)", line).groups()
        assert SemanticId.parse(sid).codes == tuple(json.loads(codes))

    # What the protocol asks for, on vectors that were not fitted.
    vectors = np.random.default_rng(0).normal(size=(20, tokenizer.dim)).astype(np.float32)
    codes, errors = tokenizer.candidates(vectors, 16 * 8 * 8)
    every = np.array(list(itertools.product(range(16), range(8), range(8))))
    real = np.square(vectors[:, None] - tokenizer.decode(every)[None]).sum(2)
    np.testing.assert_allclose(errors, np.sort(real, axis=1), rtol=1e-4)
    few, few_errors = tokenizer.candidates(vectors, 5)
    np.testing.assert_array_equal(few, codes[:, :5])
    np.testing.assert_array_equal(few_errors, errors[:, :5])
    np.testing.assert_array_equal(few[:, 0], tokenizer.encode(vectors))
    with pytest.raises(BadInput, match="quantizes vectors of"):
        tokenizer.encode(vectors[:, 1:])


@pytest.mark.slow
def test_a_generator_of_ids_finds_the_next_item_far_more_often_than_chance(
    run: Callable[..., list[str]], tmp_path: Path, pictures: Path
) -> None:
    lines = run("generate_ids.py", tmp_path, pictures)
    names = {path.name for path in pictures.iterdir()}
    generated = [line.strip().removeprefix("-> ").split(", ") for line in lines if "->" in line]
    assert len(generated) == 3
    assert all(set(items) <= names and len(set(items)) == 5 for items in generated)
    share, chance = map(int, re.findall(r"(\d+)%", lines[-1]))
    assert chance == round(500 / len(names))
    assert share > 3 * chance
