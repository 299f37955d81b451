"""Where a model's files are, and the hash of what they hold; knows neither torch nor a model library."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from fuseid.core.errors import ModelError

BUILTIN = "builtin:"
_ROOT = Path(__file__).parent / "checkpoints"
_HASHED = (".json", ".safetensors", ".txt", ".model", ".bin", ".pt")


def builtin_directory(name: str) -> Path:
    """The directory of a model that ships with fuseid. Raises ModelError, naming those that there are."""
    known = sorted(f"{BUILTIN}{path.name}" for path in _ROOT.iterdir() if path.is_dir())
    if name not in known:
        raise ModelError(f"no model {name} ships with fuseid; there are: {', '.join(known)}")
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
