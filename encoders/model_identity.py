"""Identifies models by name: what pins their weights, and the fingerprints of what they compute. Loads no model."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from fuseid.core.config import ClipConfig, Config, VlmConfig
from fuseid.core.errors import BadModel
from fuseid.core.fingerprints import fingerprint
from fuseid.core.names import hint
from fuseid.core.reasons import reason
from fuseid.encoders.model_files import BUILTIN, builtin_directory, directory_hash, hub_commit
from fuseid.encoders.vlm_reading import reading_of

HUB = "hf-hub:"
LOCAL = "local-dir:"
PYTHON = "python:"
FAKE = "fake"
_RANDOM, _RANDOM_FILES = "random", "random-0"

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

# What a name resolves to: a directory or name that the library takes, tag or commit, and what pins the weights.
Resolved = tuple[str, str | None, str]


def clip_fingerprint(config: ClipConfig, resolved: Resolved | None = None) -> str:
    """The fingerprint of this config's encoder: the same for every spelling of a model's name; neither the device nor
    the batch size is part of it. For a user's own class it is the class's `fingerprint`.

    resolved: what `resolve_clip` returned, if it was called before.
    """
    if config.model.startswith(PYTHON):
        return own_class(config.model).fingerprint
    if is_fake(config.model):
        model, files = _fake_identity(config.model)
    else:
        name, tag, files = resolved or resolve_clip(config)
        # A directory is identified by its content, not by its path.
        model = "local" if name.startswith(LOCAL) else name
        if tag or files == _RANDOM_FILES:
            model += f"/{tag or _RANDOM}"
    return fingerprint("clip", model=model, files=files, precision=config.precision)


def vlm_fingerprint(config: VlmConfig, resolved: Resolved | None = None) -> str:
    """The fingerprint of this config's vectors: the same for every spelling of a model's name; neither device,
    attention kernel nor batch size is part of it. resolved: what `resolve_vlm` returned, if it was called before."""
    reading = reading_of(config)
    return fingerprint(
        "vlm",
        **_vlm_identity(config, resolved),
        prompt=reading.prompt,
        system=reading.system,
        suffix=reading.suffix,
        pooling=reading.pooling,
        dim=config.dim,
    )


def describe_fingerprint(config: VlmConfig, resolved: Resolved | None = None) -> str | None:
    """The fingerprint of this config's generated captions and tags; None where both are off."""
    if config.caption is None and config.tags is None:
        return None
    return fingerprint(
        "describe",
        **_vlm_identity(config, resolved),
        caption=config.caption,
        tags=config.tags,
        max_new_tokens=config.max_new_tokens,
    )


def _vlm_identity(config: VlmConfig, resolved: Resolved | None) -> dict[str, object]:
    if is_fake(config.model) and resolved is None:
        name, files = _fake_identity(config.model)
    else:
        name, commit, files = resolved or resolve_vlm(config)
        name = name if commit else "local"
    return {"model": name, "files": files, "frames": config.frames, "precision": config.precision}


def resolve_vlm(config: VlmConfig) -> Resolved:
    """-> (directory or hub name, the hub's commit, what pins the weights). Raises ModelError."""
    model = (config.model or "").removeprefix(LOCAL)
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return str(directory), None, directory_hash(directory)
    if Path(model).is_dir():
        return model, None, directory_hash(Path(model))
    model = model.removeprefix(HUB).rstrip("/")
    commit = hub_commit(model, config.revision)
    return model, commit, commit


def resolve_clip(config: ClipConfig) -> Resolved:
    """-> (open_clip's model name, pretrained tag, what pins the weights), without building the model.

    Architectures and tags are found in any case, and with `/` or `_` in place of `-` where open_clip reads them so, and
    returned as open_clip lists them. A hub name is pinned by its commit. Raises ModelError for an unknown name.
    """
    model = config.model
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return f"{LOCAL}{directory}", None, directory_hash(directory)
    if model.startswith(LOCAL):
        directory = Path(model.removeprefix(LOCAL))
        if not (directory / "open_clip_config.json").is_file():
            raise BadModel(f"{directory} holds no open_clip_config.json, so it is no open_clip model directory")
        return model, None, directory_hash(directory)
    if model.startswith(HUB):
        model = model.rstrip("/")
        return model, None, hub_commit(model.removeprefix(HUB), config.revision)
    if ":" in model:
        raise BadModel(f"unknown scheme in CLIP model {model}; known: {BUILTIN}, {HUB}, {LOCAL}, {PYTHON}")
    from fuseid.encoders.open_clip_parts import part

    known = {name.lower(): name for name in part("factory").list_models()}
    architecture, _, tag = model.rpartition("/")
    bare = known.get(_architecture(model))
    name = known.get(_architecture(architecture)) or bare
    if not model:
        raise BadModel("the name of the CLIP model is empty; open_clip.list_models() lists the architectures")
    if name is None:
        wanted = _architecture(architecture or model)
        raise BadModel(f"open_clip knows no model {model}; {hint(wanted, known.values())}")
    tag = "" if name == bare else tag.lower().replace("-", "_")
    tags = part("pretrained").list_pretrained_tags_by_model(name)
    if tag == _RANDOM:
        return name, None, _RANDOM_FILES
    if not tag:
        known_tags = [*tags, _RANDOM]
        example = f"{name}/{known_tags[0]}"
        raise BadModel(f"CLIP model {model} needs a checkpoint, as in {example}; {name} has {', '.join(known_tags)}")
    if tag not in tags:
        raise BadModel(f"CLIP model {model}: {name} has no checkpoint {tag!r}; {hint(tag, [*tags, _RANDOM])}")
    return name, tag, tag


def _architecture(name: str) -> str:
    """The key of an architecture: `ViT-B/32`, as in papers, is `ViT-B-32`."""
    return name.lower().rstrip("/").replace("/", "-")


def pinned(config: Config) -> Config:
    """The same configuration with each hub model's revision set to a commit, so that every worker of a run, and every
    later look-up, loads the same weights. Raises ModelError if the commit is unknown."""
    clip, vlm = config.clip, config.vlm
    if clip is not None and clip.model.startswith(HUB):
        clip = clip.model_copy(update={"revision": resolve_clip(clip)[2]})
    if vlm.model is not None and not is_fake(vlm.model) and (commit := resolve_vlm(vlm)[1]) is not None:
        vlm = vlm.model_copy(update={"revision": commit})
    return config.model_copy(update={"clip": clip, "vlm": vlm})


def as_known(model: str, known: str | None) -> str:
    """A model's name as a database knows it. Names on the hub are found in any case, and their case is part of the
    stored fingerprints: the spelling that the database began with stays. known: that one, if any."""
    if known is None or any(Path(name).exists() for name in (model, known)):
        return model
    ours, theirs = (name.removeprefix(HUB).rstrip("/") for name in (model, known))
    return known if _HUB_NAME.fullmatch(ours) and ours.casefold() == theirs.casefold() else model


def former_fingerprints(config: Config) -> dict[str, str]:
    """By column of `contents`, the fingerprints that the models of a configuration had in earlier versions of fuseid:
    there, `fake` and `fake:64`, the same model, had two."""
    clip, vlm, dim = config.clip, config.vlm, fake_dim(FAKE)
    found: dict[str, str | None] = {}
    if clip is not None and is_fake(clip.model) and fake_dim(clip.model) == dim:
        found["clip_fp"] = fingerprint("clip", model=FAKE, files=f"{FAKE}-{dim}", precision=clip.precision)
    if is_fake(vlm.model) and fake_dim(vlm.model) == dim:
        former = (FAKE, "former", f"{FAKE}-{dim}")
        found |= {"vlm_fp": vlm_fingerprint(vlm, former), "describe_fp": describe_fingerprint(vlm, former)}
    return {column: mark for column, mark in found.items() if mark is not None}


def own_class(model: str) -> Any:
    """The class that `python:package.module:Class` names; imports its module.

    Raises ModelError if it cannot be imported, or has no `fingerprint`: planning a run compares the fingerprint with
    the stored one without creating an instance.
    """
    module, _, name = model.removeprefix(PYTHON).partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadModel(f"cannot import {model}: {reason(error)}; the form is {PYTHON}package.module:Class") from None
    mark = getattr(found, "fingerprint", None)
    if not (isinstance(mark, str) and mark):
        raise BadModel(f"{model} needs a class attribute `fingerprint`, a text that changes whenever its vectors do")
    return found


def is_fake(model: str | None) -> bool:
    """Whether the name is `fake` or `fake:DIM`."""
    return model is not None and model.partition(":")[0] == FAKE


def _fake_identity(model: str | None) -> tuple[str, str]:
    dim = fake_dim(model)
    return f"{FAKE}:{dim}", f"{FAKE}-{dim}"


def fake_dim(model: str | None) -> int:
    """The D of `fake:D`, 64 for `fake`. Raises ModelError if D is not a valid number."""
    _, colon, dim = (model or "").partition(":")
    if not colon:
        return 64
    if not dim.isdecimal() or not 1 <= int(dim) <= 4096:
        raise BadModel(f"{model}: the number behind `fake:` is the size of its vectors, 1 to 4096")
    return int(dim)
