"""CLIP through open_clip: frames and captions to unit vectors of one space."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import open_clip
import torch
from PIL import Image

from fuseid.core.config import ClipConfig
from fuseid.encoders.blocks import blocks, unit_rows
from fuseid.encoders.clip_texts import TextEncoder, block_rows
from fuseid.encoders.devices import DTYPES, Passes, pick_device, prepared, preparing_threads
from fuseid.encoders.model_files import load_failure, snapshot
from fuseid.encoders.model_identity import HUB, LOCAL, clip_fingerprint, resolve_clip


class OpenClip:
    """Any open_clip model as a `ClipLike`.

    Names: `builtin:mini-clip`; `ARCHITECTURE/PRETRAINED_TAG`; `ARCHITECTURE/random` (seeded, for speed tests);
    `hf-hub:ORG/REPO`; `local-dir:PATH`.

    Resizing and cropping use open_clip's own transforms on uint8; conversion and normalisation run on the device.
    Raises ModelError, in one line, for a name that is unknown or weights that cannot be loaded.
    """

    def __init__(self, config: ClipConfig) -> None:
        self.device = pick_device(config.device)
        resolved = resolve_clip(config)
        name, tag, pinned = resolved
        try:
            if name.startswith(HUB):
                name = LOCAL + snapshot(name.removeprefix(HUB), pinned)
            # Random weights must be the same in every process that encodes.
            torch.manual_seed(0)
            logging.getLogger().addFilter(_no_random_weights_warning)
            model, _, preprocess = open_clip.create_model_and_transforms(
                name,
                pretrained=tag,
                precision=config.precision,
                device=self.device,
                weights_only=True,
                # For a directory without weights, open_clip would continue with random ones.
                require_pretrained=name.startswith(LOCAL) or tag is not None,
            )
            tokenize = open_clip.get_tokenizer(name)
        except Exception as error:
            remote = config.model.startswith(HUB) or tag not in (None, "random")
            raise load_failure(f"cannot load CLIP model {config.model}", error, remote) from error
        finally:
            logging.getLogger().removeFilter(_no_random_weights_warning)
        self._model = model.eval()
        self._dtype = DTYPES[config.precision]
        *geometry, _to_rgb, _to_tensor, normalise = preprocess.transforms
        self._geometry = geometry
        size = model.visual.image_size
        self._side = size if isinstance(size, int) else min(size)
        self._mean = torch.tensor(normalise.mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(normalise.std, device=self.device).view(1, 3, 1, 1)
        self.block = block_rows(config, self.device)
        self._threads = preparing_threads(self.device)
        self._passes = Passes(self.device)
        self._encode_texts = TextEncoder(self._model.encode_text, tokenize, self.device, self.block, self._passes)
        self.fingerprint = clip_fingerprint(config, resolved)
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def encode_frames(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """uint8 [H, W, 3] each, of any sizes -> float32 [N, dim], unit norm."""
        fitted = prepared(self._fit, frames, self._threads, self.block)
        vectors: list[np.ndarray] = []
        for group in blocks(fitted, self.block):
            vectors += self._passes.run(self._image_block, group, self.block)
        return unit_rows(np.stack(vectors))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """-> float32 [N, dim], unit norm. Captions longer than the model's context are cut by its own tokenizer."""
        return self._encode_texts(texts)

    def _fit(self, frame: np.ndarray) -> np.ndarray:
        image = Image.fromarray(frame)
        try:
            return self._fitted(image)
        except ValueError:
            # One side would have no pixel. Stretched, it has one.
            width, height = image.size
            least = -(-max(width, height) // self._side)
            return self._fitted(image.resize((max(width, least), max(height, least))))

    def _fitted(self, image: Image.Image) -> np.ndarray:
        for transform in self._geometry:
            image = transform(image)
        return np.asarray(image)

    @torch.inference_mode()
    def _image_block(self, frames_HWC: list[np.ndarray]) -> np.ndarray:
        pixels = torch.from_numpy(np.stack(frames_HWC)).to(self.device).permute(0, 3, 1, 2)
        pixels = pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std).to(self._dtype).contiguous()
        return self._model.encode_image(pixels).float().cpu().numpy()


def _no_random_weights_warning(record: logging.LogRecord) -> bool:
    return "No pretrained weights" not in record.getMessage()
