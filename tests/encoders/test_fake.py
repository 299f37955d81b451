"""The fake encoders: fast, the same on every machine, and similar for similar inputs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.records import Description
from fuseid.encoders.fake import FakeClip, FakeVlm
from fuseid.encoders.model_identity import clip_fingerprint, vlm_fingerprint
from fuseid.encoders.models import load_clip, load_vlm


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


RED, DARK_RED, BLUE = plain((220, 30, 30)), plain((190, 20, 20), (90, 50)), plain((30, 60, 200))


def test_like_pictures_and_like_words_are_near_each_other() -> None:
    clip = FakeClip()
    red, dark_red, blue = clip.encode_frames([RED, DARK_RED, BLUE])
    assert red @ dark_red > 0.9 > red @ blue
    apple, apples, dog = clip.encode_texts(["a red apple", "red apples", "three dogs run"])
    assert apple @ apples > 0.5 > apple @ dog


def test_vectors_are_of_unit_norm_and_of_the_size_asked_for() -> None:
    clip, vlm = load_clip(ClipConfig(model="fake:128")), load_vlm(VlmConfig(model="fake:7"))
    assert (clip.dim, vlm.dim) == (128, 7)
    grey = plain((127, 127, 127))
    for vectors in (
        clip.encode_frames([RED, grey]),
        clip.encode_texts(["", "x", "\ud800"]),
        vlm.encode_items([(grey[None], None), ((), "")]),
    ):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_fake_vectors_are_golden_and_the_same_in_any_batch() -> None:
    clip = FakeClip(16)
    frames, texts = [RED, DARK_RED, BLUE], ["a red apple", "two boats"]
    together = np.concatenate([clip.encode_frames(frames), clip.encode_texts(texts)])
    alone = [clip.encode_frames([f])[0] for f in frames] + [clip.encode_texts([t])[0] for t in texts]
    np.testing.assert_array_equal(together, np.stack(alone))
    # Golden files of users depend on these bits.
    rounded = (together * 4096).round().astype(np.int16)
    assert hashlib.blake2b(rounded.tobytes(), digest_size=8).hexdigest() == "89df0daf44cbf152"


def test_the_vlm_reads_the_caption_only_where_the_prompt_names_it() -> None:
    items = [(RED[None], "one"), (RED[None], "two")]
    apart = FakeVlm(config=VlmConfig(model="fake", prompt="What?")).encode_items(items)
    beside = FakeVlm(config=VlmConfig(model="fake", prompt="{caption}")).encode_items(items)
    assert np.array_equal(apart[0], apart[1])
    assert not np.array_equal(beside[0], beside[1])


def test_descriptions_are_given_where_asked_for() -> None:
    frames = [RED[None], np.stack([DARK_RED, DARK_RED])]
    both = load_vlm(VlmConfig(model="fake", caption="x", tags="y"))
    assert both.describe(frames) == [
        Description("something red", ("red", "wide")),
        Description("something red", ("red", "tall")),
    ]
    assert load_vlm(VlmConfig(model="fake")).describe(frames) == [Description(None, None)] * 2


def test_fingerprints_distinguish_fakes_from_models_and_from_each_other() -> None:
    assert FakeClip(8).fingerprint == clip_fingerprint(ClipConfig(model="fake:8"))
    config = VlmConfig(model="fake:8", prompt="x")
    assert load_vlm(config).fingerprint == vlm_fingerprint(config)
    known = [clip_fingerprint(ClipConfig(model=m)) for m in ("fake:8", "fake:16", "builtin:mini-clip")]
    assert len(set(known)) == 3


def test_nothing_is_fake_by_default() -> None:
    assert not ClipConfig().model.startswith("fake")
    assert VlmConfig().model is None


@pytest.mark.parametrize("name", ["fake", "fake:64"])
def test_the_default_fake_has_64_numbers(name: str) -> None:
    assert load_clip(ClipConfig(model=name)).dim == 64
