"""Every depth, sample format and layout that Pillow opens is shown as a second decoder shows it, or refused."""

import numpy as np
import pytest

from fuseid.core.config import DecodeConfig
from fuseid.core.errors import ItemError
from fuseid.encoders.media import decode

from .picture_cases import Case, cases

CASES = cases()
# What all packings of a TIFF show, these two show too.
FEW = ("lzw", "packbits", "lzma", "zstd")


def marked(case: Case):
    slow = case.name.endswith(tuple(f"-{packing}.tif" for packing in FEW))
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_samples_are_shown_as_a_second_decoder_shows_them_or_refused(tmp_path, case: Case):
    path = tmp_path / case.name
    path.write_bytes(case.data)
    if isinstance(case.expected, str):
        with pytest.raises(ItemError, match=case.expected) as refusal:
            decode(str(path), "image", DecodeConfig())
        assert "convert it" in str(refusal.value) or "Unsupported" in str(refusal.value)
        return
    frame = decode(str(path), "image", DecodeConfig()).frames[0]
    assert frame.shape == case.expected.shape
    assert np.abs(frame.astype(int) - case.expected).max() <= case.tolerance


def test_the_table_has_every_format_and_refuses_only_what_it_names():
    shown = {case.name.rpartition(".")[2] for case in CASES if not isinstance(case.expected, str)}
    assert shown == {"tif", "png", "jpg", "webp", "bmp", "avif", "jxl"}
    assert len(CASES) == len({case.name for case in CASES})
