"""The fingerprints that a configuration gives to each stage."""

from __future__ import annotations

from dataclasses import dataclass

from fuseid.core.config import Config
from fuseid.core.fingerprints import fingerprint


@dataclass(frozen=True, slots=True)
class StageFingerprints:
    """`clip` and `vlm` are None where the model is switched off."""

    decode: str
    clip: str | None
    vlm: str | None

    def encoders(self) -> dict[str, str | None]:
        """The encoder behind each modality's vectors."""
        return {"clip_image": self.clip, "clip_text": self.clip, "vlm": self.vlm, "external": None}


def stage_fingerprints(config: Config) -> StageFingerprints:
    """Hashes weights where they are files; builds no model. Raises ModelError for a model that there is not."""
    decode = fingerprint(
        "decode",
        sampling=config.decode.sampling.model_dump(),
        long_side=config.decode.long_side,
        video_decoder=config.decode.video_decoder,
    )
    clip = vlm = None
    if config.clip is not None:
        from fuseid.encoders.clip import clip_fingerprint

        clip = clip_fingerprint(config.clip)
    if config.vlm.model is not None:
        from fuseid.encoders.vlm import vlm_fingerprint

        vlm = vlm_fingerprint(config.vlm)
    return StageFingerprints(decode, clip, vlm)
