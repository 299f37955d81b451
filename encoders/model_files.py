"""Finds a model's files and the hash or commit that pins them; imports neither torch nor a model library."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from fuseid.core.errors import BadModel, ModelError, NotReady, unusable
from fuseid.core.names import hint
from fuseid.core.reasons import reason

BUILTIN = "builtin:"
_ROOT = Path(__file__).parent / "checkpoints"
_HASHED = (".json", ".jinja", ".safetensors", ".txt", ".model", ".bin", ".pt", ".pth")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_SECONDS = 10.0
# The files of a hub repository that open_clip reads; other formats of the same weights are not downloaded.
_HUB_FILES = ["*.json", "*.txt", "*.model", "open_clip_*.safetensors", "open_clip_*.bin"]


def builtin_directory(name: str) -> Path:
    """The directory of a model that ships with fuseid. Raises ModelError, which lists them, for an unknown name."""
    known = sorted(f"{BUILTIN}{path.name}" for path in _ROOT.iterdir() if path.is_dir())
    if name not in known:
        raise BadModel(f"no model {name} ships with fuseid; {hint(name, known)}")
    return _ROOT / name.removeprefix(BUILTIN)


def directory_hash(directory: Path) -> str:
    """Hex of BLAKE2b-64 over the names and bytes of a model directory's weights, configs and vocabularies."""
    files = sorted(path for path in directory.iterdir() if path.suffix in _HASHED and path.is_file())
    return _hash_files(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=8)
def _hash_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path, size, _ in files:
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def hub_commit(repository: str, revision: str | None) -> str:
    """The commit of a hub name: `revision` if it is a commit; else the commit of that branch or tag according to the
    hub, or to the local cache if the hub cannot be reached.

    Raises BadModel if the hub has no such repository or revision, ModelError if neither can be asked: nobody could tell
    later which weights made a vector.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    branch = revision or "main"
    why, kind = "the hub cannot be asked", ModelError
    try:
        if not constants.HF_HUB_OFFLINE:
            commit = HfApi().model_info(repository, revision=branch, timeout=_HUB_SECONDS).sha
            if commit is not None:
                return commit
    except HFValidationError:
        raise BadModel(f"{repository} is neither a directory nor a name on the hub, which is ORG/REPO") from None
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        why = f"the hub answers {reason(error)!r}"
        if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
            kind = BadModel
    except Exception as error:
        # The HTTP library of the hub's client has its own exception types.
        why = f"the hub cannot be asked ({reason(error)})"
    noted = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "refs", branch)
    if noted.is_file():
        return noted.read_text(encoding="ascii").strip()
    raise kind(
        f"cannot tell which commit {repository} at {branch} is: {why}, and the local cache holds none; "
        "set `revision` to a commit, or name a directory"
    )


def snapshot(repository: str, commit: str) -> str:
    """The directory in the hub's cache that holds an open_clip repository at a commit; open_clip accepts no commit."""
    from huggingface_hub import snapshot_download

    return snapshot_download(repository, revision=commit, allow_patterns=_HUB_FILES)


def load_failure(what: str, error: Exception, remote: bool) -> ModelError:
    """The one-line error for a library's error while it loaded a model. what: `cannot load CLIP model NAME`. remote: a
    download may have failed."""
    why, memory = reason(error), "out of memory" in str(error).lower()
    may_pass = remote or memory or isinstance(unusable("", error), NotReady)
    if type(error).__name__ == "UnpicklingError":
        why = "its weights are pickled objects, not data, and are never run; use a checkpoint with safetensors"
        may_pass = False
    if "trust_remote_code" in str(error):
        why = "it asks for code of its own, which is never run; use a checkpoint of a family that the library knows"
        may_pass = False
    return (ModelError if may_pass else BadModel)(f"{what}: {why}")
