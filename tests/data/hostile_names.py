"""Hostile names, links, special files and sidecars around media that are good."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from .hostile_bytes import Hostile, entry, film, saved

GOOD_NAMES = {
    "line\nbreak.png": "a line break",
    'it\'s "quoted".png': "quotes of both kinds",
    "'; DROP TABLE contents; --.png": "SQL",
    "-rf.png": "a leading dash",
    "n" * 251 + ".png": "255 bytes, so that a sidecar's name would have more",
    "日本 🍎\u202egnp.png": "other scripts and a right-to-left override",
    " .png": "white space",
    "..\\..\\up.png": "what would be a path elsewhere",
    "%2e%2e%2fup.png": "an escaped path, which has no meaning in a file name",
    "http:%5C%5Cexample.org.png": "what might be taken for an address",
    "$(touch owned).png": "what a shell would run",
    "folder.png/inside.png": "a folder that is called like a picture",
}


def names() -> list[Hostile]:
    good = [
        entry(name, f"a good picture; its name: {what}", "accepted", saved("PNG")) for name, what in GOOD_NAMES.items()
    ]
    return [*good, *_names(), *_links(), *_sidecars()]


def _names() -> list[Hostile]:
    return [
        entry("concat:a.mp4|b.mp4", "a name that FFmpeg could read as two", "accepted", film("mp4")),
        entry(os.fsdecode(b"caf\xe9.png"), "a name that is not UTF-8, which no store can hold",
              "MissingFile|accepted", saved("PNG")),
    ]  # fmt: skip


def _links() -> list[Hostile]:
    def link(target: str) -> Callable[[Path], object]:
        return lambda path: path.symlink_to(target)

    def listen(path: Path) -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.chdir(here)

    return [
        entry("circle.png", "a link to itself", "MissingFile", link("circle.png")),
        entry("dangling.png", "a link to nothing", "MissingFile", link("nothing.png")),
        entry("passwords.png", "a link out of the folder", "NotAllowed", link("/etc/passwd")),
        entry("up.png", "a link out of the folder by ..", "NotAllowed", link("../../up.png")),
        entry("zeros.png", "a link to a device that never ends", "NotAllowed", link("/dev/zero")),
        entry("environment.png", "a link to what the kernel makes up", "NotAllowed", link("/proc/self/environ")),
        entry("descriptor.mp4", "a link to an open descriptor of the reader", "NotAllowed", link("/proc/self/fd/0")),
        entry("pipe.png", "a pipe that nobody writes to", "MissingFile", os.mkfifo),
        entry("pipe.mp4", "a pipe that nobody writes to", "MissingFile", os.mkfifo),
        entry("socket.png", "a socket", "MissingFile", listen),
    ]


def _sidecars() -> list[Hostile]:
    """A good picture each; the sidecar beside it is what is hostile."""

    def beside(suffix: str, content: bytes | Callable[[Path], object]) -> Callable[[Path], object]:
        def make(path: Path) -> None:
            path.write_bytes(saved("PNG"))
            sidecar = path.with_suffix(suffix)
            if callable(content):
                content(sidecar)
            else:
                sidecar.write_bytes(content)

        return make

    def sparse(path: Path) -> None:
        path.touch()
        os.truncate(path, 1 << 30)

    return [
        entry("long-caption.png", "a caption of 1 MB", "TooLarge", beside(".txt", b"word " * 200_000)),
        entry("sparse-caption.png", "a caption of 1 GiB", "BadSidecar", beside(".txt", sparse)),
        entry("latin-caption.png", "a caption that is not UTF-8", "BadSidecar", beside(".txt", b"caf\xe9")),
        entry("nul-caption.png", "NUL among the words, which is left out", "accepted",
              beside(".txt", b"a\0 red\0 ball")),
        entry("bidi-caption.png", "words that turn the text around, which are left out", "accepted",
              beside(".txt", "evil\u202egnp.exe \u2066x\u2069".encode())),
        entry("pipe-caption.png", "a pipe as a caption: not a file, so there is no caption", "accepted",
              beside(".txt", os.mkfifo)),
        entry("linked-caption.png", "a caption that is a link out of the folder", "BadSidecar",
              beside(".txt", lambda path: path.symlink_to("/etc/hostname"))),
        entry("deep.png", "JSON 100,000 deep", "BadSidecar", beside(".json", b"[" * 100_000)),
        entry("list.png", "JSON that is no object", "BadSidecar", beside(".json", b"[1, 2]")),
        entry("number.png", "a caption that is a number", "BadSidecar", beside(".json", b'{"caption": 5}')),
        entry("digits.png", "a number of 10,000 digits", "BadSidecar",
              beside(".json", b'{"attributes": {"n": ' + b"9" * 10_000 + b"}}")),
        entry("half.png", "half a character, which is left out", "accepted",
              beside(".json", b'{"caption": "a \\ud83d ball"}')),
        entry("kind.png", "an unknown kind", "Unrecognised", beside(".json", b'{"kind": "../../etc"}')),
        entry("film-kind.png", "a picture that is said to be a video", "Unrecognised",
              beside(".json", b'{"kind": "video"}')),
        entry("kind-object.png", "a kind that is no text", "BadSidecar", beside(".json", b'{"kind": {"a": 1}}')),
    ]  # fmt: skip
