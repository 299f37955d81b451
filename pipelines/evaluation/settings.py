"""Settings of an evaluation: the size of the model, how it is trained, and what it generates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fuseid.core.names import check_known

# A model that sees its examples more often than this learns them by heart without dropout; one that sees them once
# learns more slowly with it.
_OFTEN = 4


@dataclass(frozen=True)
class Setting:
    """layers: of the encoder, and of the decoder. history: how many of a user's newest items the model sees.
    learning_rate: the peak, after `warmup` steps and before a cosine down to 0, for weights of size 1. check_every:
    steps between checks of the loss on `valid_examples`; training ends after `patience` checks without a lower loss.
    users: test examples of at most so many users are used. free_examples: how many are also tried without the trie."""

    name: str
    d_model: int
    d_kv: int
    d_ff: int
    heads: int
    layers: int
    dropout: float
    history: int
    batch: int
    steps: int
    learning_rate: float
    warmup: int
    check_every: int
    patience: int
    valid_examples: int
    beams: int
    users: int
    free_examples: int = 1_000


# tiny is made for two cores and minutes: in this time many small steps teach more than few large ones. small has the
# layers, heads and widths of Rajput et al. 2023, 4.
TINY = Setting(
    "tiny", d_model=96, d_kv=24, d_ff=384, heads=4, layers=1, dropout=0.1, history=10, batch=32, steps=3_000,
    learning_rate=2e-2, warmup=100, check_every=500, patience=3, valid_examples=500, beams=20, users=1_000,
)  # fmt: skip
SMALL = Setting(
    "small", d_model=128, d_kv=64, d_ff=1024, heads=6, layers=4, dropout=0.1, history=20, batch=256, steps=10_000,
    learning_rate=1e-2, warmup=500, check_every=500, patience=5, valid_examples=2_000, beams=20, users=10_000,
)  # fmt: skip
_NAMED = {setting.name: setting for setting in (TINY, SMALL)}


def for_examples(setting: Setting, count: int) -> Setting:
    """The setting for so many training examples: without dropout, unless training goes over them often."""
    often = setting.steps * setting.batch > _OFTEN * count
    return setting if often else replace(setting, dropout=0.0)


def setting_named(name: str) -> Setting:
    check_known("setting", name, _NAMED)
    return _NAMED[name]
