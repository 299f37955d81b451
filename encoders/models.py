"""Models by name: what pins them, their fingerprints, and the one place where a name becomes an encoder.

Imports a model library only for a name that needs it, so that planning a run costs no such import.
"""

from __future__ import annotations

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.protocols import ClipLike, VlmLike
from fuseid.encoders.model_identity import PYTHON, fake_dim, is_fake, own_class


def load_clip(config: ClipConfig) -> ClipLike:
    """Raises ModelError for a model that there is not, or that cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeClip

        return FakeClip(fake_dim(config.model))
    if config.model.startswith(PYTHON):
        return own_class(config.model)(config)
    from fuseid.encoders.clip import OpenClip

    return OpenClip(config)


def load_vlm(config: VlmConfig) -> VlmLike:
    """Raises ModelError for a model that there is not, or that cannot be loaded."""
    if is_fake(config.model):
        from fuseid.encoders.fake import FakeVlm

        return FakeVlm(fake_dim(config.model), config)
    from fuseid.encoders.vlm import TransformersVlm

    return TransformersVlm(config)
