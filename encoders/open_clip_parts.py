"""Single modules of open_clip, without what its image towers need.

`import open_clip` takes two thirds of the time of a look-up by words: it imports torchvision, with it torch's compiler,
and the models of timm and transformers. Here its modules are imported once more, below a package of another name in
which those that import all this are replaced by empty ones. The package `open_clip` itself is neither imported nor
changed, so other code of the process can import it before or later.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

_PACKAGE = "fuseid_open_clip_parts"
# The modules that are replaced, and the names that others import from them; a text tower uses none of them.
_REPLACED = {
    "coca_model": ("CoCa",),
    "hf_model": ("HFTextEncoder",),
    "loss": ("ClipLoss", "DistillClipLoss", "CoCaLoss", "SigLipLoss"),
    "timm_model": ("TimmModel",),
    "transform": (
        "AugmentationCfg", "PreprocessCfg", "image_transform_v2", "merge_preprocess_dict", "merge_preprocess_kwargs",
    ),
    "utils": ("feature_take_indices", "freeze_batch_norm_2d", "to_2tuple"),
}  # fmt: skip


def part(name: str) -> ModuleType:
    """A module of open_clip: `factory`, `model`, `pretrained` or `tokenizer`. Raises ImportError for an open_clip of
    another structure."""
    _package()
    return import_module(f"{_PACKAGE}.{name}")


@cache
def _package() -> None:
    spec = find_spec("open_clip")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("open_clip is not installed", name="open_clip")
    package = ModuleType(_PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = package
    for name, members in _REPLACED.items():
        replaced = ModuleType(f"{_PACKAGE}.{name}")
        replaced.__dict__.update(dict.fromkeys(members))
        sys.modules[replaced.__name__] = replaced
