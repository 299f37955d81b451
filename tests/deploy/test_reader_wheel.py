"""The package for those who only read: made from the other's wheel, and enough for look-ups, exports and tries."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("reader_wheel", ROOT / "deploy" / "reader_wheel.py")
assert _spec is not None
assert _spec.loader is not None
reader = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reader)

METADATA = """\
Metadata-Version: 2.4
Name: fuseid
Version: 1.2
Summary: Turns a catalogue
 of media into IDs.
License-File: LICENSE
{required}
Requires-Dist: torch>=2
Provides-Extra: fast
Requires-Dist: numba; extra == "fast"
Requires-Dist: numpy<9; extra == "fast"

# fuseid

Requires-Dist: this is prose
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A wheel of `fuseid` with a file of each sort."""
    required = "\n".join(f"Requires-Dist: {name}>=1,<2" for name in reader.REQUIRED)
    files = {
        "fuseid/core/text.py": "pass\n",
        "fuseid/sample/a.png": "picture",
        "fuseid/encoders/checkpoints/mini/model": "weights",
        "fuseid-1.2.dist-info/METADATA": METADATA.format(required=required),
        "fuseid-1.2.dist-info/entry_points.txt": "[console_scripts]\nfuseid = fuseid.apps.cli:main\n",
        "fuseid-1.2.dist-info/RECORD": "",
    }
    wheel = tmp_path / "fuseid-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return wheel


def test_the_reader_has_the_code_and_its_own_metadata(small: Path, tmp_path: Path) -> None:
    made = reader.reader_wheel(small, tmp_path)
    assert made.name == "fuseid_reader-1.2-py3-none-any.whl"
    with zipfile.ZipFile(made) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    info = "fuseid_reader-1.2.dist-info"
    assert [*files] == ["fuseid/core/text.py", f"{info}/METADATA", f"{info}/entry_points.txt", f"{info}/RECORD"]
    header, _, prose = files[f"{info}/METADATA"].decode().partition("\n\n")
    required = [f"Requires-Dist: {name}>=1,<2" for name in reader.REQUIRED]
    assert header.splitlines() == [
        "Metadata-Version: 2.4", "Name: fuseid-reader", "Version: 1.2", f"Summary: {reader._SUMMARY}",
        "License-File: LICENSE", *required,
    ]  # fmt: skip
    assert prose.startswith("# fuseid-reader\n")
    rows = list(csv.reader(io.StringIO(files.pop(f"{info}/RECORD").decode())))
    assert rows.pop() == [f"{info}/RECORD", "", ""]
    hashes = {name: urlsafe_b64encode(hashlib.sha256(data).digest()) for name, data in files.items()}
    expected = [[name, f"sha256={hashes[name].decode().rstrip('=')}", str(len(files[name]))] for name in files]
    assert rows == expected


def test_the_same_wheel_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    first, second = (reader.reader_wheel(small, folder) for folder in (tmp_path, tmp_path / "again"))
    assert first.read_bytes() == second.read_bytes()


def test_a_requirement_that_fuseid_no_longer_has_is_noticed(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fuseid does not require fsspec, google-crc32c"):
        reader.metadata("Name: fuseid\nRequires-Dist: numpy\n\n")
    with pytest.raises(ValueError, match="no wheel of fuseid"):
        reader.reader_wheel(small.rename(tmp_path / "other-1.2-py3-none-any.whl"), tmp_path)


# An environment of its own. Slow: it is installed from the registry.

FORBIDDEN = ("torch", "torchvision", "transformers", "ray", "open_clip", "av", "lancedb", "PIL")
# Formats that need no torch; the sample's codebooks are too small for one, and `grid` writes a file of torch.
FORMATS = ("parquet", "minionerec", "forge", "torcheasyrec", "static", "cornac", "rectools", "sidinspector")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database `db` that the whole package has made, and a vector `query.npy` of its item v007."""
    folder = tmp_path_factory.mktemp("made")
    generator = np.random.default_rng(0)
    vectors = (generator.normal(size=(6, 16))[np.arange(60) % 6] + generator.normal(size=(60, 16)) / 4).astype("f4")
    np.save(folder / "vectors.npy", vectors)
    (folder / "vectors.ids.txt").write_text("".join(f"v{number:03}\n" for number in range(60)))
    (folder / "fuseid.yaml").write_text("clip: null\ntokenizer: {codebook_sizes: [4, 4]}\n")
    query = json.dumps({"vector": vectors[7].tolist(), "space": "external", "k": 3})
    (folder / "queries.jsonl").write_text(query + "\n")
    events = [f"{user},v{(7 * user + step) % 60:03},{1_700_000_000 + step}" for user in range(9) for step in range(5)]
    (folder / "events.csv").write_text("user_id,content_id,timestamp\n" + "\n".join(events) + "\n")
    for command in ("ingest --vectors vectors.npy", "fit"):
        whole = [sys.executable, "-P", "-m", "fuseid.apps.cli", *command.split(), "--db", "db", "--runner", "local"]
        subprocess.run(whole, cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment with `fuseid-reader` alone, at the versions of the lock."""
    folder = tmp_path_factory.mktemp("alone")
    made = reader.reader_wheel(wheel, folder)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "env"], check=True)
    install = [
        uv,
        "pip",
        "install",
        "-q",
        "--python",
        folder / "env/bin/python",
        "-c",
        ROOT / "requirements.lock",
        made,
    ]
    subprocess.run(install, check=True)
    return folder / "env" / "bin"


def run(command: list[Any], folder: Path) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FUSEID_", "PYTHON"))}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_the_reader_alone_looks_up_and_exports(database: Path, alone: Path, tmp_path: Path) -> None:
    missing = "import importlib.util as u, sys; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    assert run([alone / "python", "-c", missing, *FORBIDDEN], tmp_path) == (0, "[]\n", "")

    def fuseid(*arguments: object) -> Any:
        status, out, err = run([alone / "fuseid", *arguments, "--db", "db", "--json"], database)
        assert (status, err) == (0, "")
        return json.loads(out)

    (item,) = fuseid("lookup", "--like", "v007", "-k", 1, "--kind", "text")
    assert item["content_id"] != "v007"
    fuseid("lookup", "--from", "queries.jsonl", "--out", tmp_path / "found.parquet")
    of_vector = "import pyarrow.parquet as p, sys; print(p.read_table(sys.argv[1])['content_id'].to_pylist())"
    status, out, _ = run([alone / "python", "-c", of_vector, tmp_path / "found.parquet"], tmp_path)
    assert (status, out[:7]) == (0, "['v007'")
    prefix = str(item["sid"]).partition("-")[0]
    assert {row["sid"].partition("-")[0] for row in fuseid("lookup", "--sid", prefix)} == {prefix}
    assert fuseid("lookup", "--children")
    assert fuseid("lookup", "--facet", "sid")
    assert [one["job"] for one in fuseid("runs")["runs"]] == ["fit", "ingest"]
    assert fuseid("tokenizers")
    assert fuseid("explain", "v007")
    assert fuseid("rejected") is not None
    assert fuseid("check")
    for name in FORMATS:
        assert fuseid("export", "ids", "--format", name, "--out", tmp_path / name)["items"] == 60
    assert fuseid("export", "trie", "--out", tmp_path / "trie")
    assert fuseid("export", "vocabulary", "--out", tmp_path / "vocabulary")
    sequences = ("export", "sequences", "--interactions", "events.csv", "--out", tmp_path / "sequences")
    assert fuseid(*sequences, "--runner", "local")["users"] == 9
    fuseid("backup", "--to", tmp_path / "copy")

    program = (
        "import sys\n"
        "import numpy as np\n"
        "from fuseid.api import Catalog, export_ids, runs, tokenizers\n"
        "from fuseid.pipelines.exports.tries import open_trie\n"
        "catalog = Catalog.open('db')\n"
        "[first] = catalog.search(vector=np.load('vectors.npy')[7], space='external', k=1).to_pylist()\n"
        "trie = open_trie(sys.argv[1]).trie\n"
        "print(first['content_id'], export_ids('db', sys.argv[2])['items'], trie.item_count)\n"
    )
    called = [alone / "python", "-c", program, tmp_path / "trie", tmp_path / "by_api"]
    assert run(called, database) == (0, "v007 60 60\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("fit", "torch"), ("ingest --vectors vectors.npy", "PIL"), ("neighbours -k 3 --out other", "torch"),
        ("report", "torch"), ("export ids --format grid --out other", "torch"),
    ],
)  # fmt: skip
def test_another_command_names_the_whole_package(database: Path, alone: Path, command: str, module: str) -> None:
    line = f"error: this needs {module}, which fuseid-reader leaves out: pip uninstall fuseid-reader, then pip install "
    assert run([alone / "fuseid", *command.split(), "--db", "db"], database) == (2, "", f"{line}fuseid\n")
    assert not (database / "other").exists()


@pytest.mark.slow
def test_a_job_of_the_api_names_the_whole_package(alone: Path, tmp_path: Path) -> None:
    program = "\n".join(
        [
            "from fuseid.core.errors import MissingPackage",
            "try:",
            "    from fuseid.api import fit",
            "except MissingPackage as error:",
            "    print(error)",
        ]
    )
    status, out, err = run([alone / "python", "-c", program], tmp_path)
    assert (status, err) == (0, "")
    assert out.startswith("this needs ")
    assert out.endswith(", which fuseid-reader leaves out: pip uninstall fuseid-reader, then pip install fuseid\n")
