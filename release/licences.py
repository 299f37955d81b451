"""The licences of what fuseid needs at run time, by the metadata of what is installed: `make licences` writes a table.

`--check` ends with 1 for a licence that is not known, and for one of the GPL's family outside ACCEPTED. The metadata
says nothing of the libraries that a wheel brings along: those of such a licence are found by the names of their files.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TABLE = Path(__file__).parent.parent / "docs" / "licences.md"
# Extras that are installed for users; dev is for tests.
NOT_FOR_USERS = {"dev"}
# Of the GPL's family or outside any list, with the reason why fuseid can depend on them.
ACCEPTED = {
    "av": "BSD; the wheel's FFmpeg is under the LGPL, and libx264 and libx265 lie beside it",
    "certifi": "MPL: a list of certificates, unchanged",
    "cuda-toolkit": "holds no files, only names those of NVIDIA",
    "decord": "Apache-2.0; but the wheel's FFmpeg was built with `--enable-gpl --enable-nonfree`",
    "pi-heif": "LGPL (libheif, libde265), as shared libraries; only with the extra `heif`",
    "tqdm": "MPL and MIT, unchanged",
}
# Beginnings of the names of libraries under the GPL.
GPL_LIBRARIES = ("libx264", "libx265", "libpostproc")
PERMISSIVE = (
    "apache",
    "mit",
    "bsd",
    "isc",
    "psf",
    "python software",
    "zlib",
    "unlicense",
    "hpnd",
    "0bsd",
    "cc0",
    "cmu",
)

HEAD = """# Licences of what fuseid depends on

fuseid itself is under Apache-2.0; `NOTICE` has the licences of the bundled sample and models. This table has what an
installation brings along, by the metadata of each package in `requirements.lock`; `make licences` writes it.
`make release-check` ends with an error for a licence that is not known, and for one of the GPL's family without a
reason here.

| Package | Licence | Needed | |
| --- | --- | --- | --- |
"""
TAIL = """
## Libraries inside wheels

The metadata does not name them. Whoever passes them on, for example in an image, has to keep their terms. Under the
GPL are:

| Package | Libraries |
| --- | --- |
"""
END = """
fuseid decodes only, and calls no encoder of these libraries; they are loaded all the same. `decord` is used only if
`decode.video_decoder` names it: uninstall it in an image that you pass on, since FFmpeg's own terms forbid that for a
build with `--enable-nonfree`. PyAV can be built with an FFmpeg of your own (`--no-binary av`). For NVIDIA's packages,
NVIDIA's terms hold. None of this is legal advice.
"""


def main(checks: bool) -> int:
    found = closure("fuseid")
    if checks:
        faults = [f"{name}: {licence(each)}" for name, (each, _) in found.items() if not is_known(name, each)]
        print("\n".join(faults) or f"licences: {len(found)} packages, {len(ACCEPTED)} of them with a reason")
        return 1 if faults else 0
    rows = [
        f"| `{name}` | {licence(each)} | {needed} | {ACCEPTED.get(name, '')} |"
        for name, (each, needed) in found.items()
    ]
    bundled = {name: gpl_libraries(each) for name, (each, _) in found.items()}
    inside = [f"| `{name}` | {', '.join(names)} |" for name, names in bundled.items() if names]
    TABLE.write_text(HEAD + "\n".join(rows) + "\n" + TAIL + "\n".join(inside) + "\n" + END)
    return 0


def closure(root: str) -> dict[str, tuple[Distribution, str]]:
    """-> each package that `root` needs, by name, with `always` or the extras that need it."""
    top = distribution(root)
    always = _needed(top, {""})
    extras = set(top.metadata.get_all("Provides-Extra", [])) - NOT_FOR_USERS
    by_extra = {extra: _needed(top, {extra}) - always for extra in sorted(extras)}
    found = {}
    for name in sorted(always.union(*by_extra.values())):
        users = [extra for extra, names in by_extra.items() if name in names]
        found[name] = (distribution(name), "always" if name in always else "extra " + ", ".join(users))
    return found


def _needed(top: Distribution, extras: set[str]) -> set[str]:
    names: set[str] = set()
    left = [(top, extras)]
    done: set[tuple[str, frozenset[str]]] = set()
    while left:
        package, chosen = left.pop()
        for text in package.requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *chosen}):
                continue
            name = canonicalize_name(requirement.name)
            if name == canonicalize_name(top.metadata["Name"]) or (name, frozenset(requirement.extras)) in done:
                continue
            done.add((name, frozenset(requirement.extras)))
            try:
                left.append((distribution(name), set(requirement.extras)))
            except PackageNotFoundError:
                continue  # an extra that is not installed
            names.add(name)
    return names


def licence(package: Distribution) -> str:
    """The SPDX expression, else the short text or the classifiers; `unknown` without any."""
    metadata = package.metadata
    classified = [
        each.split(" :: ")[-1] for each in metadata.get_all("Classifier", []) if each.startswith("License :: OSI")
    ]
    text = (metadata.get("License") or "").strip()
    short = text if text and len(text) < 40 and "\n" not in text else ""
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    # A classifier may name another licence for what the wheel contains, or those of a "dual licence".
    plain = any(each in short.lower() for each in PERMISSIVE) and not any("GPL" in each for each in classified)
    parts = [short] if plain else [short, *classified]
    return ", ".join(each for each in parts if each) or "unknown"


def is_known(name: str, package: Distribution) -> bool:
    text = licence(package).lower()
    if name in ACCEPTED or "nvidia" in text:
        return True
    return any(each in text for each in PERMISSIVE) and "gpl" not in text and not gpl_libraries(package)


def gpl_libraries(package: Distribution) -> list[str]:
    names = {Path(str(each)).name.split("-")[0].split(".")[0] for each in package.files or []}
    return sorted(name for name in names if name.startswith(GPL_LIBRARIES))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
