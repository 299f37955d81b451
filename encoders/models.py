"""Loads encoders by model name. Imports a model library only if the model needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.protocols import ClipLike, VlmLike
from fuseid.encoders.model_identity import PYTHON, fake_dim, is_fake, own_class

if TYPE_CHECKING:
    from fuseid.encoders.clip_texts import ClipTexts


def load_clip(config: ClipConfig) -> ClipLike:
    """Raises ModelError for a model that does not exist or cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeClip

        return FakeClip(fake_dim(config.model), config)
    if config.model.startswith(PYTHON):
        return own_class(config.model)(config)
    from fuseid.encoders.clip import OpenClip

    return OpenClip(config)


def load_clip_texts(config: ClipConfig) -> ClipLike | ClipTexts:
    """For texts alone, as look-ups by words need it: where it can, without the image tower and its libraries."""
    if is_fake(config.model) or config.model.startswith(PYTHON):
        return load_clip(config)
    from fuseid.encoders.clip_texts import load_clip_texts as load_texts

    return load_texts(config) or load_clip(config)


def load_vlm(config: VlmConfig) -> VlmLike:
    """Raises ModelError for a model that does not exist or cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeVlm

        return FakeVlm(fake_dim(config.model), config)
    from fuseid.encoders.vlm import TransformersVlm

    return TransformersVlm(config)
