"""Fingerprints are stored with every row: their values must outlive releases."""

from fuseid.core import fingerprints
from fuseid.core.fingerprints import fingerprint, text_hash


def test_fingerprints_equal_the_golden_ones():
    # A change here makes every stored row stale. If it is intended, raise the step's version and update these lines.
    assert fingerprint("decode", sampling={"method": "keyframe", "frames": 8}, long_side=512) == "0f1e083bcae63181"
    assert fingerprint("clip", model="é😀", files=None) == "0b14c40a54ff3671"
    assert text_hash("a red apple") == "932cd4e7e36fdb9d971e6be1d7c3e95f"


def test_order_of_the_parts_does_not_matter():
    assert fingerprint("x", a=1, b={"c": 2, "d": 3}) == fingerprint("x", b={"d": 3, "c": 2}, a=1)


def test_stage_name_every_part_and_type_matter():
    known = [
        fingerprint("x", a=1),
        fingerprint("y", a=1),
        fingerprint("x", a=2),
        fingerprint("x", a="1"),
        fingerprint("x", b=1),
        fingerprint("x", a=1, b=None),
        fingerprint("x", a=[1]),
    ]
    assert len(set(known)) == len(known)


def test_a_new_step_version_is_a_new_fingerprint(monkeypatch):
    before = fingerprint("decode", a=1)
    monkeypatch.setitem(fingerprints.STEP_VERSIONS, "decode", fingerprints.STEP_VERSIONS["decode"] + 1)
    assert fingerprint("decode", a=1) != before


def test_a_missing_caption_has_no_hash_and_a_lone_surrogate_has_one():
    assert text_hash(None) is None
    assert text_hash("") != text_hash(" ")
    assert len(text_hash("\ud800")) == 32
