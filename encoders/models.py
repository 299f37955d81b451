"""Loads encoders by model name. Imports a model library only if the model needs it."""

from __future__ import annotations

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.protocols import ClipLike, VlmLike
from fuseid.encoders.model_identity import PYTHON, fake_dim, is_fake, own_class


def load_clip(config: ClipConfig) -> ClipLike:
    """Raises ModelError for a model that does not exist or cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeClip

        return FakeClip(fake_dim(config.model), config)
    if config.model.startswith(PYTHON):
        return own_class(config.model)(config)
    from fuseid.encoders.clip import OpenClip

    return OpenClip(config)


def load_vlm(config: VlmConfig) -> VlmLike:
    """Raises ModelError for a model that does not exist or cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeVlm

        return FakeVlm(fake_dim(config.model), config)
    from fuseid.encoders.vlm import TransformersVlm

    return TransformersVlm(config)
