"""The members of a tar are found at their offsets; a hostile one costs no memory and is not read beyond its end."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from fuseid.core.errors import BadShard, MissingFile
from fuseid.pipelines.files.tar import BLOCK, Member, check_header, members


class Watched(io.BytesIO):
    """Remembers the longest read."""

    longest = 0

    def read(self, size=-1):
        assert size >= 0
        self.longest = max(self.longest, size)
        return super().read(size)


def read(data: bytes) -> list[Member]:
    file = Watched(data)
    try:
        return list(members(file, len(data)))
    finally:
        assert file.longest <= 1 << 20


def header(name: str = "a.png", size: int = 0, kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


END = bytes(2 * BLOCK)
GOOD = header("good.png", 3) + padded(b"abc")
LONG = "long/" * 60 + "ü日本語.png"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_lie_where_tarfile_finds_them(form):
    names = ["a.png", "./b.txt", "d/" * 40 + "c.json", "x" * 99, "é.mp4"] + [LONG] * (form != tarfile.USTAR_FORMAT)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = number * 300, 1.5  # a fraction of a second needs a pax header
            tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as tar:
        expected = [Member(info.name, info.offset_data, info.size) for info in tar]
    found = read(buffer.getvalue())
    assert found == expected
    for member in found:
        check_header(buffer.getvalue()[member.offset - BLOCK : member.offset], member.size, "it")


def pax(**records: str) -> bytes:
    body = b""
    for key, value in records.items():
        record = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(record) + len(str(len(record) + 2))
        body += str(length).encode() + record
    return header("pax", len(body), tarfile.XHDTYPE) + padded(body)


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (header("a", 0, tarfile.SYMTYPE, linkname="/etc/passwd"), "a link"),
        (header("a", 0, tarfile.LNKTYPE, linkname="good.png"), "a hard link"),
        (header("a", 4096, tarfile.LNKTYPE, linkname="good.png"), "a hard link that claims a size"),
        (header("a", 0, tarfile.CHRTYPE, devmajor=1, devminor=5), "a device"),
        (header("a", 0, tarfile.FIFOTYPE), "a pipe"),
        (header("a/", 0, tarfile.DIRTYPE), "a folder"),
        (header("a", 600, b"Z") + bytes(1024), "of an unknown kind"),
        (header("a", 600, tarfile.GNUTYPE_SPARSE) + bytes(1024), "with holes"),
        (pax(GNU__sparse__major="1", path="b.png") + header("b.png", 3) + padded(b"xyz"), "with holes, of pax"),
        (header("g", 20, tarfile.XGLTYPE) + padded(b"20 comment=xxxxxxxx\n"), "a global header"),
        (header("x", 5, tarfile.XHDTYPE) + padded(b"99999"), None),
        (header("x", 9, tarfile.XHDTYPE) + padded(b"3 a=b\n=\n "), None),
        (header("k", 3, tarfile.GNUTYPE_LONGLINK) + padded(b"zzz"), None),
    ],
)  # fmt: skip
def test_members_that_are_no_regular_files_are_skipped(before, why):
    found = read(before + GOOD + END)
    assert [member.name for member in found][-1] == "good.png"
    assert len(found) == 1, why


def test_long_names_and_sizes_of_extended_headers_count_for_one_member_only():
    named = header("L", 8, tarfile.GNUTYPE_LONGNAME) + padded(b"new.png\0")
    sized = pax(size="3", path="p.png") + header("p", 0) + padded(b"xyz")
    assert [member.name for member in read(named + GOOD + GOOD + sized + GOOD + END)] == [
        "new.png", "good.png", "p.png", "good.png"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_huge_header_of_a_header_is_not_read_and_its_member_is_passed_over(kind):
    bomb = header("x", 8 << 20, kind) + bytes(8 << 20)
    assert [member.name for member in read(bomb + header("hidden.png") + GOOD + END)] == ["good.png"]


def test_ten_thousand_headers_of_headers_do_not_pile_up():
    chain = (header("L", 8, tarfile.GNUTYPE_LONGNAME) + padded(b"new.png\0")) * 10_000
    assert [member.name for member in read(chain + GOOD + END)] == ["new.png"]


def test_names_are_never_paths():
    names = ["/etc/passwd.png", "../../up.png", "a\nb.png", "-rf.png", "C:\\x.png"]
    assert [member.name for member in read(b"".join(header(name) for name in names) + END)] == names


@pytest.mark.parametrize(
    ("data", "kept", "said"),
    [
        (b"no tar at all" * 100, 0, "no tar header at byte 0"),
        (b"short", 0, "within a header"),
        (b"\x89PNG\r\n\x1a\n" + bytes(2000), 0, "no tar header at byte 0"),
        (GOOD + b"rubbish" * 200, 1, "no tar header at byte 1024"),
        (GOOD + header("b.png", 10_000) + bytes(5000), 1, "ends within the member at byte 1024, 'b.png', of 10000"),
        (GOOD + header("b.png", 1 << 40), 1, "ends within the member"),
        (GOOD + header("b.png", 3)[:300], 1, "within a header"),
        (GOOD + header("x", 600, tarfile.XHDTYPE) + bytes(10), 1, "ends within the member"),
        (GOOD + pax(size="-5") + header("b.png", 3), 1, "has the size '-5'"),
        (GOOD + pax(size="9" * 30) + header("b.png", 3), 1, "has the size '999"),
        (header("a.png", 700) + padded(b"x" * 100) + GOOD, 1, "no tar header"),  # claims more than it has
        (header("a.png", 100) + b"x" * 2048, 1, "no tar header at byte 1024"),  # claims less
        (GOOD, 1, "ends at byte 1024 without the mark"),  # cut off between two members
        (header("a.png", 3) + b"abc", 1, "ends at byte 515 without the mark"),
        (GOOD + END + GOOD + END, 1, "at byte 1024, and 3072 bytes follow"),
        (GOOD + bytes(2 << 20), 1, "at byte 1024, and 2097152 bytes follow"),  # what a power cut leaves of a file
    ],
)
def test_damage_is_reported_with_its_offset_and_earlier_members_are_kept(data, kept, said):
    walk = members(Watched(data), len(data))
    for _ in range(kept):
        member = next(walk)
        assert member.offset + member.size <= len(data)
    with pytest.raises(BadShard, match=said):
        next(walk)


def test_a_size_below_zero_in_base_256_is_damage():
    block = bytearray(header("a.png", 3))
    block[124:136] = b"\xff" * 11 + b"\xfe"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(BadShard, match="negative"):
        read(bytes(block) + END)


def test_a_tar_ends_with_zeros_and_nothing_else():
    assert len(read(GOOD + GOOD + END)) == 2
    assert len(read(GOOD + END + bytes(20 * BLOCK))) == 1
    for cut in (bytes(BLOCK), bytes(2 * BLOCK - 1)):
        with pytest.raises(BadShard, match="within the two blocks of zeros that end a tar"):
            read(GOOD + cut)
    assert read(END) == []


@pytest.mark.parametrize(
    "block", [bytes(BLOCK), b"x" * BLOCK, b"", header("a.png", 4), header("a.png", 5, tarfile.SYMTYPE)]
)
def test_a_span_is_only_a_member_if_its_header_says_so(block):
    with pytest.raises(MissingFile, match="changed since"):
        check_header(block, 5, "it")
