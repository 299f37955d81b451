"""Without decord a run is planned with PyAV; a node that lacks the decoder of the plan refuses it."""

from __future__ import annotations

import sys

import pytest

from fuseid.core.config import DecodeConfig, SamplingConfig
from fuseid.core.errors import NotReady
from fuseid.encoders.decode_pool import DecodePool
from fuseid.encoders.video_decoder import decoder_here

DECORD = DecodeConfig(video_decoder="decord", sampling=SamplingConfig(method="uniform"))
OTHERS = [
    DecodeConfig(),
    DecodeConfig(video_decoder="pyav"),
    DecodeConfig(video_decoder="decord", sampling=SamplingConfig(method="scene")),
]


def test_what_is_here_stays() -> None:
    assert decoder_here(DECORD) is DECORD


@pytest.fixture
def without_decord(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)


@pytest.mark.usefixtures("without_decord")
def test_a_run_without_decord_is_one_of_the_default() -> None:
    assert decoder_here(DECORD) == DECORD.model_copy(update={"video_decoder": "auto"})
    assert [decoder_here(config) for config in OTHERS] == OTHERS


@pytest.mark.usefixtures("without_decord")
def test_a_node_without_the_decoder_of_the_plan_refuses_it() -> None:
    with pytest.raises(NotReady, match=r"decord, which is not installed on this node; .* set decode"):
        DecodePool(DECORD)
    for config in OTHERS:
        DecodePool(config).close()
