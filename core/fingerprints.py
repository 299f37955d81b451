"""Fingerprints: short, stable hashes of everything that determines the output of a stage."""

from __future__ import annotations

import hashlib
import json
from typing import Any

# Increased by one when a step's output changes for the same input and config: stored rows of that stage are then stale.
STEP_VERSIONS = {"decode": 4, "caption": 1, "clip": 1, "vlm": 2, "describe": 1, "fusion": 2, "learned fusion": 1}


def fingerprint(stage: str, **parts: Any) -> str:
    """Hex of BLAKE2b-64 over the stage's name, its step version and the canonical JSON of `parts`."""
    payload = json.dumps(
        [stage, STEP_VERSIONS.get(stage, 0), parts], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return hashlib.blake2b(payload.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def text_hash(text: str | None) -> str | None:
    """Hex of BLAKE2b-128 of a caption's UTF-8 bytes; None stays None."""
    if text is None:
        return None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
