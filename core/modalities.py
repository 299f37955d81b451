"""The modalities: the vectors that an item may have. One table, over which planning, commit, fit, fusion, look-up and
indexes loop.

CLIP and the VLM make the first three; the others are ready-made vectors, brought from outside under names of the user's
choosing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fuseid.core.errors import BadInput

EXTERNAL = "external"
# The columns of fused vectors: of the generation in force, and of the other one while there is one.
FUSED, FUSED_OTHER = "fused", "fused_other"
FUSED_COLUMNS = (FUSED, FUSED_OTHER)
# Columns that results have.
_RESULTS = ("score", "score_text", "score_image", "space")
# Fusion has a map for each combination of modalities that items have.
MOST_MODALITIES = 6
VECTOR_NAME = r"^[a-z][a-z0-9_]{0,30}$"
# Filters name columns without quotes, and do not read these words as columns (`null IS NULL` is true for every row).
_SQL_WORDS = frozenset(
    (
        "all", "any", "case", "current_date", "current_time", "current_timestamp", "exists", "false", "interval", "not",
        "null", "select", "some", "top", "trim", "true", "with",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Modality:
    """name: of the column of vectors. made_from: `both` is frames and caption together. fingerprint: the column that
    tells whether the vector is current: it holds the fingerprint of the encoder, or of the ready-made vector itself.
    weight: by default, in the fusion."""

    name: str
    made_from: Literal["frames", "caption", "both", "outside"]
    fingerprint: str
    weight: float = 1.0

    @property
    def from_frames(self) -> bool:
        return self.made_from in ("frames", "both")


ENCODED = (
    Modality("clip_image", "frames", "clip_fp"),
    Modality("clip_text", "caption", "clip_fp"),
    Modality("vlm", "both", "vlm_fp", weight=0.5),
)
_ENCODED = {modality.name: modality for modality in ENCODED}


def ready_made(name: str = EXTERNAL) -> Modality:
    """The modality of ready-made vectors of this name."""
    return Modality(name, "outside", f"{name}_fp")


def modalities(names: Iterable[str]) -> tuple[Modality, ...]:
    """The modalities of these columns of vectors in the order of fusion: those that encoders make, then ready-made ones
    by name. Fused vectors are no modality."""
    wanted = set(names) - {*FUSED_COLUMNS}
    encoded = [modality for modality in ENCODED if modality.name in wanted]
    return (*encoded, *(ready_made(name) for name in sorted(wanted - _ENCODED.keys())))


def check_name(name: str, taken: Iterable[str]) -> None:
    """Raises BadInput for a name that ready-made vectors cannot have. taken: the columns that every `contents` has."""
    if not re.fullmatch(VECTOR_NAME.strip("^$"), name):
        raise BadInput(
            f"{name!r} cannot name vectors; a name has lower-case letters, digits and _, begins with a letter, and has "
            "31 characters at most, like audio"
        )
    if name in _SQL_WORDS:
        raise BadInput(f"{name!r} cannot name vectors: it is a word of SQL; choose another, like audio")
    own = {*_ENCODED, *taken, *FUSED_COLUMNS, *_RESULTS, "suffix"}
    if name in own or ready_made(name).fingerprint in own or name.endswith("_fp"):
        raise BadInput(
            f"{name!r} cannot name vectors: fuseid itself has a column of that name; choose another, like audio"
        )
