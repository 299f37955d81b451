"""Queries into CLIP space: by the model that encoded the catalogue, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

from fuseid.core.errors import BadInput, FingerprintMismatch, FuseidError, ItemError, NotReady, TooLarge, unusable
from fuseid.core.reasons import reason
from fuseid.core.surface import option
from fuseid.encoders.captions import normalise_caption
from fuseid.pipelines.search.calibration import Calibration
from fuseid.pipelines.search.view import View
from fuseid.pipelines.store.store import Store

# What encodes queries is imported when it is used: a look-up by ID or by item starts in a fraction of the time.
if TYPE_CHECKING:
    from fuseid.core.config import Config
    from fuseid.encoders.decode_pool import DecodePool


class QueryEncoder:
    """config: how queries are encoded; None: as in the last ingest. The model is loaded once."""

    def __init__(self, store: Store, config: Config | None, calibration: Calibration) -> None:
        self._store = store
        self._given_config = config
        self._stored_config: Config | None = None
        self._calibration = calibration
        self._encoders: dict[bool, Any] = {}
        self._ahead: dict[str, np.ndarray] = {}
        self._pool: DecodePool | None = None

    def caption(self, text: str) -> str:
        """The text of a query as ingest would store it. Raises BadInput for one that is empty or too long."""
        try:
            caption = normalise_caption(text, self._config().decode.max_caption_chars)
        except TooLarge as error:
            raise BadInput(f"cannot use the query: {error}") from None
        if caption is None:
            raise BadInput("the text to look up is empty")
        return caption

    def of_caption(self, view: View, caption: str) -> np.ndarray:
        """float32 [D], of length one. Raises NotReady if the catalogue has no CLIP vectors, FingerprintMismatch if they
        are another model's."""
        if caption in self._ahead:
            return self._ahead[caption]
        vector: np.ndarray = self._encoder(view, texts=True).encode_texts([caption])[0]
        return vector

    def prepare(self, view: View, texts: Sequence[str]) -> None:
        """Encodes the texts of many queries together, for the calls of `of_caption` that follow. What is wrong with one
        of them is for those to say."""
        captions: dict[str, None] = {}
        for text in texts:
            with suppress(FuseidError):
                captions[self.caption(text)] = None
        self._ahead = {}
        with suppress(FuseidError):
            if captions:
                vectors_ND = self._encoder(view, texts=True).encode_texts([*captions])
                self._ahead = dict(zip(captions, vectors_ND, strict=True))

    def of_picture(self, view: View, kind: str, path: str | Path) -> np.ndarray:
        """kind: image or video. As `of_caption`. Raises BadInput for a file that cannot be decoded."""
        clip = self._encoder(view, texts=False)
        try:
            try:
                file = str(Path(str(path)).resolve())
            except (OSError, RuntimeError, ValueError) as error:
                raise BadInput(f"cannot use the query: no file can be named {str(path)!r}: {reason(error)}") from None
            (decoded,) = self._decoders().decode_many([(file, kind)])
            if isinstance(decoded, ItemError):
                raise decoded
        except ItemError as error:
            raise unusable(f"cannot use the query: {error}", error) from None
        pooled = clip.encode_frames(list(decoded.frames)).mean(0)
        unit: np.ndarray = pooled / np.linalg.norm(pooled)
        return unit

    def close(self) -> None:
        """Ends the process that decodes pictures; the next picture starts another."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _decoders(self) -> DecodePool:
        """One process, from the first picture on until `close`, or until this object is no longer used: its start takes
        longer than a picture. The pool replaces it when it crashes."""
        if self._pool is None:
            from fuseid.encoders.decode_pool import DecodePool
            from fuseid.encoders.video_decoder import decoder_here

            self._pool = DecodePool(decoder_here(self._config().decode), 1)
            finalize(self, self._pool.close)
        return self._pool

    def _config(self) -> Config:
        if self._given_config is not None:
            return self._given_config
        if self._stored_config is None:
            from fuseid.core.config import ClipConfig, Config, read_stored

            clip, shown = self._store.setting("clip"), f"the setting clip of {self._store.uri}"
            self._stored_config = Config() if clip is None else Config(clip=read_stored(ClipConfig, clip, shown))
        return self._stored_config

    def _encoder(self, view: View, texts: bool) -> Any:
        """CLIP. texts: of texts alone, which is loaded much faster, unless there is the other."""
        if "clip_image" not in view.dims and "clip_text" not in view.dims:
            raise NotReady(
                f"{self._store.uri} holds no CLIP vectors; look up by {option('like')}, {option('sid')} or a vector"
            )
        if found := self._encoders.get(False) or self._encoders.get(texts):
            return found
        from fuseid.encoders.devices import pick_device
        from fuseid.encoders.model_identity import PYTHON, as_known, former_fingerprints
        from fuseid.encoders.models import load_clip, load_clip_texts

        config = self._config().clip
        if config is None:
            raise BadInput(
                f"the configuration switches CLIP off; look up by {option('like')}, {option('sid')} or a vector"
            )
        if self._given_config is None and config.model.startswith(PYTHON):
            # A database must not decide which code its readers import.
            raise BadInput(
                f"{self._store.uri} was encoded by {config.model}, which is not imported because a database names it; "
                f"pass the {option('config')} that the ingest used"
            )
        known = (self._store.setting("clip") or {}).get("model")
        # A forward pass has as many rows as an ingest's, of which a query fills one: on a CPU it would take so many
        # times as long.
        rows = 1 if pick_device(config.device).type == "cpu" else config.batch_size
        spelled = config.model_copy(update={"model": as_known(config.model, known), "batch_size": rows})
        clip = load_clip_texts(spelled) if texts else load_clip(spelled)
        column = "clip_image" if "clip_image" in view.dims else "clip_text"
        sample = self._calibration.sample(view, column)
        stored = sample["clip_fp"][0].as_py() if len(sample) else clip.fingerprint
        if stored not in (clip.fingerprint, former_fingerprints(self._config()).get("clip_fp")):
            raise FingerprintMismatch(
                f"{self._store.uri} was encoded by CLIP {stored}, the query would be by {clip.fingerprint} "
                f"({config.model}); pass the {option('config')} that the ingest used"
            )
        self._encoders[texts] = clip
        return clip
