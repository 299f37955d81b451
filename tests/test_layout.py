"""The layout holds: folder order is dependency order, nothing shadows a library, the wheel carries what it must."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ("core", "encoders", "tokenizers", "pipelines", "ray_jobs", "api", "apps")
# encoders and tokenizers are on the same level: neither imports the other.
ALLOWED = {
    "core": {"core"},
    "encoders": {"core", "encoders"},
    "tokenizers": {"core", "tokenizers"},
    "pipelines": {"core", "encoders", "tokenizers", "pipelines"},
    "ray_jobs": {"core", "encoders", "tokenizers", "pipelines", "ray_jobs"},
    "api": {"core", "encoders", "tokenizers", "pipelines", "ray_jobs", "api"},
    "apps": set(ORDER),
}
# Within `pipelines`: a room or module imports from its own room and from lower floors. A flat module is a verb.
FLOORS = (
    ("streams", "files"),
    ("store",),
    ("jobs", "sources", "search", "neighbourhood"),
    ("indexing", "engagement"),
    ("lookup", "explain", "item_frames", "rejected", "runs", "assignment", "ingestion"),
    (
        "ingest", "plan", "remove", "fit", "assign", "promote", "rollback", "drop", "tokenizers", "exports", "reports",
        "upgrade",
    ),
    ("neighbours", "lookup_file", "metrics", "sequences", "checks", "backup", "adoption", "gate", "maintain"),
    ("evaluation", "pairing", "check", "restore", "adopt"),
    ("pairs",),
)  # fmt: skip
# Tests of several modules at once. Every other file has the name and the folder of the module that it tests, unless it
# lies flat in `tests`: then it is about the whole tree.
ACROSS = {
    "api": "the public surface as a whole",
    "apps/test_small_screens.py": "every page, in a browser",
    "apps/test_newest_commit.py": "every command after every kind of commit",
    "apps/test_small_catalogues.py": "every command on catalogues with next to nothing in them",
    "apps/test_terminal.py": "the text of every command, for names that steer a terminal",
    "apps/test_statuses.py": "the exit status of every command",
    "deploy": "the image and its scripts, the manifests",
    "encoders/test_checkpoints.py": "the bundled models",
    "encoders/test_vlm_families.py": "five families of models through all of vlm*.py",
    "examples": "the usage examples, each run as a user runs it",
    "pipelines/exports/formats": "the same items in every format",
    "pipelines/remote": "whole jobs against real servers of S3, Cloud Storage and HTTP",
    "pipelines/sequences/formats": "the same events in every format",
    "pipelines/test_frozen.py": "databases of earlier releases, in every command",
    "pipelines/test_hostile.py": "a catalogue of hostile media, from listing to commit",
    "pipelines/test_kinds.py": "each kind of tokenizer, in every job and reader",
    "pipelines/test_own_tokenizer.py": "a kind of tokenizer from outside, in every job and reader",
    "pipelines/test_scale.py": "what the benchmarks of scale assert, in small",
    "ray_jobs/test_kills.py": "every job, killed at every step",
    "ray_jobs/test_late_writers.py": "every job, suspended past the end of its lease",
    "ray_jobs/test_signals.py": "every job, ended by a signal",
    "ray_jobs/test_submit.py": "a job of the wheel, submitted to a cluster",
}
SOURCES = sorted(path for folder in ORDER for path in (ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_follow_the_order_of_the_folders(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    names = imports_of(path)
    ours = {name.split(".")[1] for name in names if name.startswith("fuseid.")}
    assert ours <= ALLOWED[folder], f"{folder} may import {sorted(ALLOWED[folder])}, got {sorted(ours)}"
    tops = {name.split(".")[0] for name in names}
    assert not tops & (set(ORDER) - {"tokenizers"}), "import fuseid.X, never the bare folder"
    assert not tops & {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    if folder != "ray_jobs":
        assert "ray" not in tops, "only ray_jobs knows Ray"


def room(name: str) -> str:
    """fuseid.pipelines.store.rows -> store"""
    return name.split(".")[2]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "pipelines").rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_rooms_of_the_pipelines_import_from_lower_floors(path: Path) -> None:
    floor_of = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    own = path.relative_to(ROOT / "pipelines").with_suffix("").parts[0]
    found = {room(name) for name in imports_of(path) if name.startswith("fuseid.pipelines.")} - {own}
    assert {name for name in found if floor_of[name] >= floor_of[own]} == set()


def test_every_room_and_verb_of_the_pipelines_has_a_floor() -> None:
    there = {
        path.relative_to(ROOT / "pipelines").with_suffix("").parts[0] for path in (ROOT / "pipelines").rglob("*.py")
    }
    assert there == {name for names in FLOORS for name in names}


def has_module(test: Path) -> bool:
    return test.parent == Path() or (ROOT / test.parent / test.name.removeprefix("test_")).is_file()


def test_tests_mirror_the_source_tree() -> None:
    tests = [path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    astray = {path.as_posix() for path in tests if not has_module(path)}
    covered = {name: {path for path in astray if path == name or path.startswith(f"{name}/")} for name in ACROSS}
    assert astray - set().union(*covered.values()) == set(), "no module of that name in the mirrored folder"
    assert [name for name, paths in covered.items() if not paths] == [], "superfluous in ACROSS"


def test_every_module_opens_with_one_sentence_on_what_it_is_for() -> None:
    bare = [path.name for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert bare == []


def test_mapped_folders_are_the_folders_with_code_at_any_depth_and_only_api_has_an_init() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    mapped = {"fuseid." + ".".join(folder.parts): folder.as_posix() for folder in folders}
    assert setup["package-dir"] == mapped | {"fuseid.sample": "assets/sample"}
    assert sorted(setup["packages"]) == sorted(setup["package-dir"])
    assert {folder.parts[0] for folder in folders} == set(ORDER)
    assert not (ROOT / "fuseid").exists()
    assert not list(ROOT.glob("tests/**/__init__.py"))
    assert [path for path in SOURCES if path.name == "__init__.py"] == [ROOT / "api" / "__init__.py"]


def test_the_library_tokenizers_is_not_shadowed_when_the_root_leads_the_path() -> None:
    code = "import tokenizers, fuseid.tokenizers.rq_kmeans as ours; print(tokenizers.__file__); print(ours.__file__)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    library, ours = map(Path, run.stdout.split())
    assert "site-packages" in library.parts
    assert ours == ROOT / "tokenizers" / "rq_kmeans.py"


def test_requirements_are_pinned_with_hashes_and_name_no_registry() -> None:
    for name in ("requirements.lock", "requirements-bootstrap.lock"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        for line in text.splitlines():
            if line and not line.startswith((" ", "#")):
                assert re.match(r"^[a-z0-9.-]+==\S+", line), line


def test_every_direct_dependency_is_named_with_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(entry for entries in extras.values() for entry in entries)]
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    names = {re.split(r"[<>=\[]", entry)[0] for entry in declared} - {project["name"]}
    assert [name for name in names if f"`{name}`" not in reasons] == []


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_the_wheel_carries_the_modules_that_there_are(wheel_names: set[str]) -> None:
    modules = {f"fuseid/{path.relative_to(ROOT).as_posix()}" for path in SOURCES}
    assert {name for name in wheel_names if name.endswith(".py")} == modules


def test_the_wheel_carries_models_sample_and_templates(wheel_names: set[str]) -> None:
    for model in ("mini-clip/open_clip_model.safetensors", "mini-vlm/model.safetensors"):
        assert f"fuseid/encoders/checkpoints/{model}" in wheel_names
    assert "fuseid/sample/manifest.jsonl" in wheel_names
    assert any(name.startswith("fuseid/sample/videos/") for name in wheel_names)
    assert "fuseid/apps/templates/prefixes.html.j2" in wheel_names
    assert "fuseid/core/py.typed" in wheel_names


def test_the_wheel_carries_no_tests_and_no_pickle(wheel_names: set[str]) -> None:
    assert not [name for name in wheel_names if "tests/" in name or name.endswith((".pt", ".bin", ".pkl", ".pth"))]
