"""The identity of models: how a name is pinned, and what a fingerprint depends on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from fuseid.core.config import ClipConfig, Config, VlmConfig
from fuseid.core.errors import ModelError
from fuseid.encoders import models
from fuseid.encoders.model_files import hub_commit
from fuseid.encoders.model_identity import (
    as_known,
    clip_fingerprint,
    describe_fingerprint,
    former_fingerprints,
    pinned,
    resolve_clip,
    resolve_vlm,
    vlm_fingerprint,
)
from fuseid.encoders.models import load_clip, load_vlm
from fuseid.encoders.vlm_reading import Reading, reading_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
# Names, settings and fingerprints of before any spelling was mapped to another. Rows, fusions and exports hold these:
# entries are added, never changed.
STORED = json.loads((Path(__file__).parents[1] / "data" / "model_fingerprints.json").read_text(encoding="utf-8"))
CHECKPOINTS = Path(models.__file__).parent / "checkpoints"
MINI = VlmConfig(model="builtin:mini-vlm", prompt="caption")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache in which the main branch of ORG/REPO was COMMIT when it was last online."""
    _remember_commits(tmp_path, "ORG/REPO")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def _remember_commits(cache: Path, *names: str) -> None:
    for name in names:
        refs = cache / f"models--{name.replace('/', '--')}" / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(COMMIT)


def test_a_commit_is_used_as_it_is_and_a_branch_is_resolved_by_the_cache(cache: Path) -> None:
    assert hub_commit("anyone/anything", OTHER) == OTHER
    assert hub_commit("ORG/REPO", None) == hub_commit("ORG/REPO", "main") == COMMIT


def test_no_stored_fingerprint_changes_but_that_of_fake(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKPOINTS.parents[1])
    _remember_commits(cache, "org/repo", "Qwen/Qwen3-VL-Embedding-2B")
    now = {"clip": [], "vlm": []}
    for row in STORED["clip"]:
        now["clip"].append({**row, "fingerprint": clip_fingerprint(ClipConfig(**row["config"]))})
    for row in STORED["vlm"]:
        config = VlmConfig(**row["config"])
        marks = {"fingerprint": vlm_fingerprint(config), "describe": describe_fingerprint(config)}
        now["vlm"].append({**row, **marks})
    for part, rows in STORED.items():
        by_name = {json.dumps(row["config"]): row for row in rows}
        former, current = by_name['{"model": "fake"}'], by_name['{"model": "fake:64"}']
        fake = {**former, "fingerprint": current["fingerprint"]}
        assert now[part] == [fake if row is former else row for row in rows]
        assert (
            former["fingerprint"]
            in former_fingerprints(Config(clip=ClipConfig(model="fake"), vlm=VlmConfig(model="fake"))).values()
        )


@pytest.mark.parametrize(
    ("spelling", "stored"),
    [
        ("fake", "fake:64"),
        ("fake:0032", "fake:32"),
        ("ViT-B/32/openai", "ViT-B-32/openai"),
        ("vit-b-32/OpenAI", "ViT-B-32/openai"),
        ("ViT-B-32/laion2B-s34B-b79K", "ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32/RANDOM", "ViT-B-32/random"),
        ("hf-hub:ORG/REPO/", "hf-hub:ORG/REPO"),
        ("local-dir:{checkpoints}/mini-clip/", "builtin:mini-clip"),
        ("local-dir:mini-clip", "builtin:mini-clip"),
        ("local-dir:./../checkpoints/mini-clip", "builtin:mini-clip"),
        ("local-dir:{link}", "builtin:mini-clip"),
    ],
)
def test_a_clip_has_one_fingerprint_however_its_name_is_spelled(
    cache: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, stored: str
) -> None:
    monkeypatch.chdir(CHECKPOINTS)
    (cache / "link").symlink_to(CHECKPOINTS / "mini-clip")
    name = spelling.format(checkpoints=CHECKPOINTS, link=cache / "link")
    found = clip_fingerprint(ClipConfig(model=name))
    assert found in [row["fingerprint"] for row in STORED["clip"] if row["config"] == {"model": stored}]


@pytest.mark.parametrize(
    ("spelling", "stored"),
    [
        ("fake", "fake:64"),
        ("hf-hub:ORG/REPO", "ORG/REPO"),
        ("ORG/REPO/", "ORG/REPO"),
        ("{checkpoints}/mini-vlm/", "builtin:mini-vlm"),
        ("local-dir:{checkpoints}/mini-vlm", "builtin:mini-vlm"),
        ("mini-vlm", "builtin:mini-vlm"),
        ("{link}", "builtin:mini-vlm"),
    ],
)
def test_a_vlm_has_one_fingerprint_however_its_name_is_spelled(
    cache: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, stored: str
) -> None:
    monkeypatch.chdir(CHECKPOINTS)
    (cache / "link").symlink_to(CHECKPOINTS / "mini-vlm")
    name = spelling.format(checkpoints=CHECKPOINTS, link=cache / "link")
    full = {"prompt": "caption", "caption": "caption", "tags": "tags"}
    for more in ({}, full):
        config = VlmConfig(model=name, **more)
        wanted = [row for row in STORED["vlm"] if row["config"] == {"model": stored, **more}]
        assert (vlm_fingerprint(config), describe_fingerprint(config)) == (
            wanted[0]["fingerprint"],
            wanted[0]["describe"],
        )


def test_a_hub_name_keeps_the_spelling_that_the_database_knows(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_known("hf-hub:org/repo", "hf-hub:ORG/REPO") == "hf-hub:ORG/REPO"
    assert as_known("org/Repo", "ORG/REPO") == "ORG/REPO"
    assert as_known("org/other", "ORG/REPO") == "org/other"
    assert as_known("org/repo", None) == "org/repo"
    # Files have their case, and are known by their content.
    monkeypatch.chdir(cache)
    (cache / "org" / "repo").mkdir(parents=True)
    assert as_known("org/repo", "ORG/REPO") == "org/repo"
    assert as_known("local-dir:/A/b", "local-dir:/a/b") == "local-dir:/A/b"
    assert as_known("python:a.b:C", "python:a.b:c") == "python:a.b:C"


@pytest.mark.parametrize("config", [{}, {"precision": "bf16"}, {"model": "fake"}, {"model": "fake:8"}], ids=str)
def test_an_encoder_has_the_fingerprint_that_planning_expects(config: dict) -> None:
    clip = ClipConfig(**{"model": "fake", **config})
    assert load_clip(clip).fingerprint == clip_fingerprint(clip)
    vlm = VlmConfig(**{"model": "fake", **config})
    assert load_vlm(vlm).fingerprint == vlm_fingerprint(vlm)


@pytest.mark.parametrize(("name", "revision"), [("ORG/REPO", "v2"), ("ORG/NONE", None), ("no/such/folder", None)])
def test_a_model_that_cannot_be_pinned_is_refused(cache: Path, name: str, revision: str | None) -> None:
    with pytest.raises(ModelError, match=r"commit|neither a directory") as caught:
        hub_commit(name, revision)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_on_the_hub_is_pinned_by_its_commit(cache: Path) -> None:
    assert resolve_vlm(VlmConfig(model="ORG/REPO")) == ("ORG/REPO", COMMIT, COMMIT)
    assert resolve_clip(ClipConfig(model="hf-hub:ORG/REPO")) == ("hf-hub:ORG/REPO", None, COMMIT)
    now, later = VlmConfig(model="ORG/REPO"), VlmConfig(model="ORG/REPO", revision=OTHER)
    assert vlm_fingerprint(now) == vlm_fingerprint(now.model_copy(update={"revision": COMMIT}))
    assert vlm_fingerprint(now) != vlm_fingerprint(later)


def test_a_pinned_configuration_means_the_same_when_the_branch_has_moved(cache: Path) -> None:
    config = Config(clip=ClipConfig(model="hf-hub:ORG/REPO"), vlm=VlmConfig(model="ORG/REPO"))
    once = pinned(config)
    before = clip_fingerprint(config.clip), vlm_fingerprint(config.vlm)
    (cache / "models--ORG--REPO" / "refs" / "main").write_text(OTHER)
    assert (clip_fingerprint(once.clip), vlm_fingerprint(once.vlm)) == before
    assert (clip_fingerprint(config.clip), vlm_fingerprint(config.vlm)) != before
    assert pinned(Config()) == Config()


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "tags"},
        {"pooling": "last"},
        {"frames": 2},
        {"precision": "bf16"},
        {"dim": 8},
        {"system": "Be brief."},
    ],
    ids=str,
)
def test_a_vlm_fingerprint_depends_on_what_determines_the_vectors(change: dict) -> None:
    assert vlm_fingerprint(MINI.model_copy(update=change)) != vlm_fingerprint(MINI)


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 3}, {"device": "cpu"}, {"attention": "eager"}, {"caption": "What?"}, {"tags": "x"}],
    ids=str,
)
def test_a_vlm_fingerprint_depends_on_nothing_else(change: dict) -> None:
    assert vlm_fingerprint(MINI.model_copy(update=change)) == vlm_fingerprint(MINI)


def test_a_description_fingerprint_is_apart_from_that_of_the_vectors() -> None:
    assert describe_fingerprint(MINI) is None
    asked = MINI.model_copy(update={"caption": "caption"})
    known = {describe_fingerprint(asked)}
    for change in ({"tags": "tags"}, {"caption": "tags"}, {"max_new_tokens": 3}, {"frames": 4}, {"precision": "bf16"}):
        known.add(describe_fingerprint(asked.model_copy(update=change)))
    assert len(known) == 6
    assert describe_fingerprint(asked.model_copy(update={"prompt": "other", "pooling": "last"})) in known


def test_a_known_embedding_checkpoint_is_read_as_its_card_asks() -> None:
    card = reading_of(VlmConfig(model="Qwen/Qwen3-VL-Embedding-2B"))
    assert card == Reading("", "Represent the user's input.", "last")
    assert reading_of(VlmConfig(model="/models/Qwen3-VL-Embedding-8B/")) == card
    assert reading_of(VlmConfig(model="Alibaba-NLP/gme-Qwen2-VL-2B-Instruct")).suffix == "<|endoftext|>"
    assert reading_of(VlmConfig(model="Qwen/Qwen3-VL-2B-Instruct")) == Reading("Describe the picture.", None, "mean")


def test_the_configuration_overrides_the_model_card() -> None:
    config = VlmConfig(model="Qwen/Qwen3-VL-Embedding-2B", prompt="{caption}", system="Find it.", pooling="mean")
    assert reading_of(config) == Reading("{caption}", "Find it.", "mean")
    assert reading_of(config.model_copy(update={"system": ""})).system is None


def test_the_caption_is_read_where_the_prompt_names_it_or_there_is_nothing_else() -> None:
    beside, apart = Reading("What is {caption}?"), Reading("What?")
    assert (beside.reads_caption, apart.reads_caption) == (True, False)
    assert beside.text(True, "a dog") == "What is a dog?"
    assert apart.text(True, "a dog") == "What?"
    assert apart.text(False, "a dog") == "What? a dog"
    assert Reading("").text(False, "a dog") == "a dog"
    assert Reading("{caption}").text(True, None) == ""


@pytest.mark.parametrize("name", ["fake:", "fake:0", "fake:x", "fake:99999", "fake:-3"])
def test_a_fake_of_no_size_is_refused(name: str) -> None:
    for use in (lambda: load_clip(ClipConfig(model=name)), lambda: load_vlm(VlmConfig(model=name))):
        with pytest.raises(ModelError, match="1 to 4096"):
            use()


OWN = """
class Zeros:
    fingerprint = "zeros-1"

    def __init__(self, config):
        self.model = config.model


class Nameless:
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_models", None)


def test_a_class_of_the_users_is_loaded_by_name_and_has_its_own_fingerprint(own_module: None) -> None:
    config = ClipConfig(model="python:own_models:Zeros")
    assert clip_fingerprint(config) == load_clip(config).fingerprint == "zeros-1"
    assert load_clip(config).model == config.model


@pytest.mark.parametrize("name", ["python:", "python:json", "python:own_models:Missing", "python:no.such.module:Zeros"])
def test_a_class_that_cannot_be_imported_is_refused_with_the_form_of_a_name(own_module: None, name: str) -> None:
    for use in (clip_fingerprint, load_clip):
        with pytest.raises(ModelError, match=r"cannot import .*package\.module:Class"):
            use(ClipConfig(model=name))


def test_a_class_without_a_fingerprint_is_refused(own_module: None) -> None:
    with pytest.raises(ModelError, match="needs a class attribute `fingerprint`"):
        clip_fingerprint(ClipConfig(model="python:own_models:Nameless"))


def test_planning_with_the_bundled_models_imports_no_model_library() -> None:
    script = (
        "import sys, json; from fuseid.core.config import Config, VlmConfig\n"
        "from fuseid.pipelines.ingestion.fingerprints import stage_fingerprints\n"
        "stage_fingerprints(Config(vlm=VlmConfig(model='builtin:mini-vlm', caption='caption')))\n"
        "print(json.dumps([n for n in ('torch', 'transformers', 'open_clip') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout) == []
