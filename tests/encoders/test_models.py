"""Untrusted checkpoints: their code never runs, and one that cannot be loaded safely is refused in one line."""

from __future__ import annotations

import json
import pathlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from fuseid.core.config import ClipConfig, VlmConfig
from fuseid.core.errors import ModelError
from fuseid.encoders.clip import OpenClip
from fuseid.encoders.model_files import builtin_directory
from fuseid.encoders.vlm import TransformersVlm

FRAME = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)


class Trap:
    """Creates a file when it is unpickled; read as data it does nothing."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple:
        return pathlib.Path(self._marker).touch, ()


@pytest.fixture
def vlm(tmp_path: Path) -> Path:
    return Path(shutil.copytree(builtin_directory("builtin:mini-vlm"), tmp_path / "vlm"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return Path(shutil.copytree(builtin_directory("builtin:mini-clip"), tmp_path / "clip"))


def load_vlm(folder: Path) -> TransformersVlm:
    return TransformersVlm(VlmConfig(model=str(folder), prompt="caption", device="cpu"))


def load_clip(folder: Path) -> OpenClip:
    return OpenClip(ClipConfig(model=f"local-dir:{folder}", batch_size=2, device="cpu"))


def refusal(load, folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_the_pickled_trap_works_where_it_is_unpickled(tmp_path: Path) -> None:
    """Otherwise the tests after this one would prove nothing."""
    torch.save({"weights": Trap(tmp_path / "sprung")}, tmp_path / "trap.bin")
    torch.load(tmp_path / "trap.bin", weights_only=False)
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_objects_among_the_weights_are_never_run(tmp_path: Path, vlm: Path, clip: Path, legacy: bool) -> None:
    marker = tmp_path / "sprung"
    for load, weights, pickled in (
        (load_vlm, vlm / "model.safetensors", vlm / "pytorch_model.bin"),
        (load_clip, clip / "open_clip_model.safetensors", clip / "open_clip_pytorch_model.bin"),
    ):
        tensors = load_file(weights)
        weights.unlink()
        torch.save({**tensors, "trap": Trap(marker)}, pickled, _use_new_zipfile_serialization=not legacy)
        assert "safetensors" in refusal(load, pickled.parent)
        assert not marker.exists()


def test_weights_in_a_bin_file_are_read_as_data(vlm: Path, clip: Path) -> None:
    before = load_vlm(vlm).encode_items([(FRAME[None], None)]), load_clip(clip).encode_frames([FRAME])
    for weights, pickled in (
        (vlm / "model.safetensors", vlm / "pytorch_model.bin"),
        (clip / "open_clip_model.safetensors", clip / "open_clip_pytorch_model.bin"),
    ):
        torch.save(load_file(weights), pickled)
        weights.unlink()
    after = load_vlm(vlm).encode_items([(FRAME[None], None)]), load_clip(clip).encode_frames([FRAME])
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_safetensors_are_preferred_to_pickled_weights(tmp_path: Path, vlm: Path, clip: Path) -> None:
    for folder, name in ((vlm, "pytorch_model.bin"), (clip, "open_clip_pytorch_model.bin")):
        torch.save({"trap": Trap(tmp_path / "sprung")}, folder / name)
    load_vlm(vlm)
    load_clip(clip)
    assert not (tmp_path / "sprung").exists()


STRANGE = {
    "config.json": {
        "model_type": "stranger",
        "auto_map": {"AutoConfig": "stranger.C", "AutoModelForImageTextToText": "stranger.M"},
    },
    "processor_config.json": {"processor_class": "Stranger", "auto_map": {"AutoProcessor": "stranger.P"}},
    "tokenizer_config.json": {"tokenizer_class": "Stranger", "auto_map": {"AutoTokenizer": ["stranger.T"] * 2}},
}


@pytest.mark.parametrize("file", sorted(STRANGE))
def test_code_that_a_checkpoint_brings_is_never_run(tmp_path: Path, vlm: Path, file: str) -> None:
    marker = tmp_path / "sprung"
    (vlm / "stranger.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n", encoding="utf-8")
    settings = json.loads((vlm / file).read_text(encoding="utf-8"))
    (vlm / file).write_text(json.dumps(settings | STRANGE[file]), encoding="utf-8")
    assert "code of its own" in refusal(load_vlm, vlm)
    assert not marker.exists()


def test_a_checkpoint_without_some_of_its_weights_is_refused(vlm: Path, clip: Path) -> None:
    """Both libraries would continue with random weights in their place."""
    tensors = load_file(vlm / "model.safetensors")
    gone = next(name for name in sorted(tensors) if "layers.1." in name)
    del tensors[gone]
    save_file(tensors, vlm / "model.safetensors", metadata={"format": "pt"})
    assert "holds no weights for" in refusal(load_vlm, vlm)
    (clip / "open_clip_model.safetensors").unlink()
    refusal(load_clip, clip)


def test_damaged_weights_are_refused(vlm: Path) -> None:
    weights = vlm / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refusal(load_vlm, vlm)


def test_a_template_cannot_reach_python(tmp_path: Path, vlm: Path) -> None:
    marker = tmp_path / "sprung"
    trap = "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.system('touch %s') }}"
    (vlm / "chat_template.jinja").write_text(trap % marker, encoding="utf-8")
    refusal(load_vlm, vlm)
    assert not marker.exists()
