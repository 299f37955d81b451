"""Identifies models by name: what pins their weights, and the fingerprints of what they compute. Loads no model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from fuseid.core.config import ClipConfig, Config, VlmConfig
from fuseid.core.errors import ModelError
from fuseid.core.fingerprints import fingerprint
from fuseid.encoders.model_files import BUILTIN, builtin_directory, directory_hash, hub_commit
from fuseid.encoders.vlm_reading import reading_of

HUB = "hf-hub:"
LOCAL = "local-dir:"
PYTHON = "python:"
FAKE = "fake"


def clip_fingerprint(config: ClipConfig, pinned: str | None = None) -> str:
    """The fingerprint of this config's encoder; neither the device nor the batch size is part of it.

    For a user's own class it is the class's `fingerprint`.
    """
    if config.model.startswith(PYTHON):
        return own_class(config.model).fingerprint
    if pinned is None:
        pinned = f"fake-{fake_dim(config.model)}" if is_fake(config.model) else resolve_clip(config)[2]
    # A directory is identified by its content, not by its path.
    name = "local" if config.model.startswith((BUILTIN, LOCAL)) else config.model
    return fingerprint("clip", model=name, files=pinned, precision=config.precision)


def vlm_fingerprint(config: VlmConfig, pinned: str | None = None) -> str:
    """The fingerprint of this config's vectors; neither device, attention kernel nor batch size is part of it."""
    reading = reading_of(config)
    return fingerprint(
        "vlm",
        **_vlm_identity(config, pinned),
        prompt=reading.prompt,
        system=reading.system,
        suffix=reading.suffix,
        pooling=reading.pooling,
        dim=config.dim,
    )


def describe_fingerprint(config: VlmConfig, pinned: str | None = None) -> str | None:
    """The fingerprint of this config's generated captions and tags; None where both are off."""
    if config.caption is None and config.tags is None:
        return None
    return fingerprint(
        "describe",
        **_vlm_identity(config, pinned),
        caption=config.caption,
        tags=config.tags,
        max_new_tokens=config.max_new_tokens,
    )


def _vlm_identity(config: VlmConfig, pinned: str | None) -> dict[str, object]:
    model = config.model or ""
    if pinned is None:
        pinned = f"fake-{fake_dim(model)}" if is_fake(model) else resolve_vlm(config)[2]
    local = model.startswith(BUILTIN) or Path(model).is_dir()
    name = "local" if local else model
    return {"model": name, "files": pinned, "frames": config.frames, "precision": config.precision}


def resolve_vlm(config: VlmConfig) -> tuple[str, str | None, str]:
    """-> (directory or hub name, the hub's commit, what pins the weights). Raises ModelError."""
    model = config.model or ""
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return str(directory), None, directory_hash(directory)
    if Path(model).is_dir():
        return model, None, directory_hash(Path(model))
    commit = hub_commit(model, config.revision)
    return model, commit, commit


def resolve_clip(config: ClipConfig) -> tuple[str, str | None, str]:
    """-> (open_clip's model name, pretrained tag, what pins the weights), without building the model.

    A hub name is returned unchanged and pinned by its commit. Raises ModelError for a name unknown to open_clip.
    """
    model = config.model
    if model.startswith(BUILTIN):
        directory = builtin_directory(model)
        return f"{LOCAL}{directory}", None, directory_hash(directory)
    if model.startswith(LOCAL):
        directory = Path(model.removeprefix(LOCAL))
        if not (directory / "open_clip_config.json").is_file():
            raise ModelError(f"{directory} holds no open_clip_config.json, so it is no open_clip model directory")
        return model, None, directory_hash(directory)
    if model.startswith(HUB):
        return model, None, hub_commit(model.removeprefix(HUB), config.revision)
    if ":" in model:
        raise ModelError(f"unknown scheme in CLIP model {model}; known: {BUILTIN}, {HUB}, {LOCAL}, {PYTHON}")
    from fuseid.encoders.open_clip_parts import part

    name, _, tag = model.partition("/")
    if name not in part("factory").list_models():
        raise ModelError(f"open_clip knows no model {name}; `open_clip.list_models()` lists those that it knows")
    tags = part("pretrained").list_pretrained_tags_by_model(name)
    if tag == "random":
        return name, None, "random-0"
    if tag not in tags:
        raise ModelError(
            f"CLIP model {model}: choose a checkpoint as {name}/TAG, TAG one of {', '.join(tags) or 'none'} or random"
        )
    return name, tag, tag


def pinned(config: Config) -> Config:
    """The same configuration with each hub model's revision set to a commit, so that every worker of a run, and every
    later look-up, loads the same weights. Raises ModelError if the commit is unknown."""
    clip, vlm = config.clip, config.vlm
    if clip is not None and clip.model.startswith(HUB):
        clip = clip.model_copy(update={"revision": hub_commit(clip.model.removeprefix(HUB), clip.revision)})
    if vlm.model is not None and not is_fake(vlm.model) and (commit := resolve_vlm(vlm)[1]) is not None:
        vlm = vlm.model_copy(update={"revision": commit})
    return config.model_copy(update={"clip": clip, "vlm": vlm})


def own_class(model: str) -> Any:
    """The class that `python:package.module:Class` names; imports its module.

    Raises ModelError if it cannot be imported, or has no `fingerprint`: planning a run compares the fingerprint with
    the stored one without creating an instance.
    """
    module, _, name = model.removeprefix(PYTHON).partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"cannot import {model}: {error}; the form is {PYTHON}package.module:Class") from None
    mark = getattr(found, "fingerprint", None)
    if not (isinstance(mark, str) and mark):
        raise ModelError(f"{model} needs a class attribute `fingerprint`, a text that changes whenever its vectors do")
    return found


def is_fake(model: str | None) -> bool:
    """Whether the name is `fake` or `fake:DIM`."""
    return model is not None and model.partition(":")[0] == FAKE


def fake_dim(model: str | None) -> int:
    """The D of `fake:D`, 64 for `fake`. Raises ModelError if D is not a valid number."""
    _, colon, dim = (model or "").partition(":")
    if not colon:
        return 64
    if not dim.isdecimal() or not 1 <= int(dim) <= 4096:
        raise ModelError(f"{model}: the number behind `fake:` is the size of its vectors, 1 to 4096")
    return int(dim)
