"""Which decoder videos go by: decord only where it is asked for, and it has no package for some systems."""

from __future__ import annotations

from importlib.util import find_spec

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import NotReady
from fuseid.core.platform import name_of_open_file


def may_use_decord(config: DecodeConfig) -> bool:
    """Only where it is asked for: PyAV is as fast or faster for every method, codec and container
    (docs/decisions/0003-video-decoding.md).

    Scenes always use PyAV: only it can decode key frames without reading the rest.
    """
    return config.video_decoder == "decord" and config.sampling.method != "scene"


def decoder_here(config: DecodeConfig) -> DecodeConfig:
    """The configuration with `auto`, which is PyAV, in place of a decord that is not here. To be called where a run is
    planned, so that its fingerprints say which decoder is used."""
    return config.model_copy(update={"video_decoder": "auto"}) if _lacks_decord(config) else config


def check_decoder(config: DecodeConfig) -> None:
    """Raises NotReady on a node without the decoder with which the run was planned: its rows would be another's."""
    if _lacks_decord(config):
        raise NotReady(
            "decode.video_decoder is decord, which is not installed on this node; install it there "
            "(pip install decord), or set decode.video_decoder: auto"
        )


def _lacks_decord(config: DecodeConfig) -> bool:
    return may_use_decord(config) and (find_spec("decord") is None or name_of_open_file(0) is None)
