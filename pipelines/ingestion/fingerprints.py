"""The fingerprints that a configuration gives to each stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fuseid.core.config import Config
from fuseid.core.fingerprints import fingerprint
from fuseid.core.modalities import ENCODED
from fuseid.encoders.model_identity import (
    as_known,
    clip_fingerprint,
    describe_fingerprint,
    former_fingerprints,
    vlm_fingerprint,
)
from fuseid.encoders.vlm_reading import reading_of
from fuseid.pipelines.store.rows import sql_string
from fuseid.pipelines.store.store import Store


@dataclass(frozen=True, slots=True)
class StageFingerprints:
    """`clip` and `vlm` are None if the model is switched off, `describe` if no captions or tags are generated.

    vlm_reads_caption: whether an edit of the caption changes the VLM's vector of an item with media.
    """

    decode: str
    clip: str | None
    vlm: str | None
    describe: str | None = None
    vlm_reads_caption: bool = False

    def models(self) -> dict[str, str | None]:
        """The fingerprint of each model, by its column of `contents`."""
        return {"clip_fp": self.clip, "vlm_fp": self.vlm}

    def encoders(self) -> dict[str, str | None]:
        """For each modality that is encoded, the fingerprint of the model that makes its vectors."""
        models = self.models()
        return {modality.name: models[modality.fingerprint] for modality in ENCODED}


def stage_fingerprints(config: Config) -> StageFingerprints:
    """Hashes weights that are files; loads no model. Raises ModelError for a model that does not exist."""
    decode = fingerprint(
        "decode",
        sampling=config.decode.sampling.model_dump(),
        long_side=config.decode.long_side,
        video_decoder=config.decode.video_decoder,
    )
    clip = clip_fingerprint(config.clip) if config.clip is not None else None
    if config.vlm.model is None:
        return StageFingerprints(decode, clip, None)
    vlm, describe = vlm_fingerprint(config.vlm), describe_fingerprint(config.vlm)
    return StageFingerprints(decode, clip, vlm, describe, reading_of(config.vlm).reads_caption)


def stored_fingerprints(store: Store, config: Config) -> StageFingerprints:
    """`stage_fingerprints` as this database has them: one that was encoded under a model's former fingerprint keeps it,
    for its fusion and all its rows name it."""
    found = stage_fingerprints(config)
    former = former_fingerprints(config)
    if not former or not store.has_contents():
        return found
    contents = store.dataset("contents")

    def in_use(column: str, mark: str | None) -> bool:
        return mark is not None and contents.count_rows(f"{column} = {sql_string(mark)}") > 0

    kept: dict[str, Any] = {}
    for column, mark in former.items():
        stage = column.removesuffix("_fp")
        if in_use(column, mark) and not in_use(column, getattr(found, stage)):
            kept[stage] = mark
    return replace(found, **kept)


def as_known_by(store: Store, config: Config) -> Config:
    """The configuration with each model's name as the database knows it."""
    known, clip, vlm = store.settings(), config.clip, config.vlm
    if clip is not None:
        clip = clip.model_copy(update={"model": as_known(clip.model, (known.get("clip") or {}).get("model"))})
    if vlm.model is not None:
        vlm = vlm.model_copy(update={"model": as_known(vlm.model, known.get("vlm"))})
    return config.model_copy(update={"clip": clip, "vlm": vlm})
