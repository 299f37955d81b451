"""Makes the wheel of `fuseid-reader` from that of `fuseid`: the same code, with the requirements of reading alone.

    python deploy/reader_wheel.py dist/fuseid-0.1.0-py3-none-any.whl --out dist

Nothing is built a second time, so both wheels have the same files. What is left out are the bundled models and the
sample, which no reader opens. The same wheel gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import re
import zipfile
from base64 import urlsafe_b64encode
from pathlib import Path

NAME = "fuseid-reader"
# What look-ups, exports, tries and lists of runs import; versions are those that fuseid requires.
REQUIRED = (
    "fsspec", "google-crc32c", "numpy", "protobuf", "psutil", "pyarrow", "pydantic", "pylance", "pyyaml", "rich",
    "safetensors", "typer",
)  # fmt: skip
LEFT_OUT = ("fuseid/sample/", "fuseid/encoders/checkpoints/")
_SUMMARY = "Reads a database of fuseid: look-ups by vector, ID and item, exports, tries; without torch and ray."
_DESCRIPTION = f"""# {NAME}

The code of `fuseid`, installed without what only jobs need (torch, transformers, ray, PyAV): for services and trainers
that read a database of semantic IDs. `fuseid lookup`, `export`, `runs`, `tokenizers`, `explain` and
`fuseid.api.Catalog` work as in `fuseid`; other commands say in one line that they need it.

Both packages install the same files, so an environment has one of them.
"""


def reader_wheel(wheel: Path, out: Path) -> Path:
    """wheel: of fuseid. out: a folder. Returns the new wheel. Raises ValueError if the wheel is another package's, or
    does not require a package of `REQUIRED`."""
    distribution, version, *tags = wheel.name.split("-")
    if distribution != "fuseid":
        raise ValueError(f"{wheel.name} is no wheel of fuseid")
    old, new = f"fuseid-{version}.dist-info/", f"{NAME.replace('-', '_')}-{version}.dist-info/"
    target = out / "-".join([NAME.replace("-", "_"), version, *tags])
    record = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for entry in source.infolist():
            if entry.filename.startswith(LEFT_OUT) or entry.filename == f"{old}RECORD":
                continue
            data = source.read(entry)
            if entry.filename == f"{old}METADATA":
                data = metadata(data.decode("utf-8")).encode("utf-8")
            name = entry.filename.replace(old, new, 1) if entry.filename.startswith(old) else entry.filename
            _write(made, name, data, entry)
            digest = urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append((name, f"sha256={digest}", str(len(data))))
        rows = io.StringIO()
        csv.writer(rows, lineterminator="\n").writerows([*record, (f"{new}RECORD", "", "")])
        _write(made, f"{new}RECORD", rows.getvalue().encode(), source.getinfo(f"{old}RECORD"))
    return target


def _write(made: zipfile.ZipFile, name: str, data: bytes, like: zipfile.ZipInfo) -> None:
    entry = zipfile.ZipInfo(name, like.date_time)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, like.external_attr
    made.writestr(entry, data)


def metadata(text: str) -> str:
    """The core metadata of `fuseid` -> those of `fuseid-reader`."""
    header, _, _ = text.partition("\n\n")
    # A field may go on in lines that begin with a blank.
    fields = re.split(r"\n(?!\s)", header)
    kept, found = [], set()
    for field in fields:
        name, _, value = field.partition(": ")
        if name == "Name":
            field = f"Name: {NAME}"
        elif name == "Summary":
            field = f"Summary: {_SUMMARY}"
        elif name == "Provides-Extra":
            continue
        elif name == "Requires-Dist":
            package = re.match(r"[A-Za-z0-9._-]+", value)
            if package is None or package[0] not in REQUIRED or "extra ==" in value:
                continue
            found.add(package[0])
        kept.append(field)
    if missing := sorted(set(REQUIRED) - found):
        raise ValueError(f"fuseid does not require {', '.join(missing)}")
    return "\n".join(kept) + "\n\n" + _DESCRIPTION


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new wheel")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(reader_wheel(arguments.wheel, arguments.out))


if __name__ == "__main__":
    main()
