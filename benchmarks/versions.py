"""Which versions of a package fuseid works with: `python benchmarks/versions.py ray 2.57.0 2.58.1 2.59.0 2.60.0`.

Makes one environment of `requirements.lock` beside the checkout's own, and for each version installs it there (with
what it needs; everything else stays as locked) and runs the tests of fuseid that depend most on the package, slow ones
included. For Ray these start a cluster of that version, ingest, kill workers and submit jobs. Prints one row for each:
version, passed, failed, skipped, minutes. `--python` chooses the interpreter, `--tests` other tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = str(Path(sys.executable).with_name("uv"))


@dataclass(frozen=True)
class Package:
    """free: a pattern of the names of packages that go with its version. tests: those that depend most on it."""

    free: str
    tests: tuple[str, ...]


PACKAGES = {
    "ray": Package(
        r"ray", ("tests/ray_jobs/test_runner.py", "tests/ray_jobs/test_submit.py", "tests/ray_jobs/test_pool.py")
    ),
    "pylance": Package(
        r"pylance|lancedb|lance-namespace.*|pyarrow",
        ("tests/pipelines/store", "tests/pipelines/test_frozen.py", "tests/pipelines/test_lookup.py",
         "tests/pipelines/test_backup.py", "tests/pipelines/test_maintain.py"),
    ),
    "lancedb": Package(r"lancedb|lance-namespace.*", ("tests/pipelines/store", "tests/pipelines/test_frozen.py")),
    "transformers": Package(r"transformers|tokenizers|huggingface-hub|hf-xet", ("tests/encoders",)),
    "torch": Package(
        r"torch|torchvision|triton|nvidia-.*|cuda-.*|sympy",
        ("tests/encoders", "tests/tokenizers", "tests/pipelines/test_fit.py", "tests/pipelines/test_ingest.py"),
    ),
}  # fmt: skip


def constraints(free: str) -> str:
    """The lock without the packages named by `free`."""
    pins = re.findall(r"^([A-Za-z0-9_.-]+==\S+)( ;[^\\\n]*)?", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    return "".join(f"{pin}{marker}\n" for pin, marker in pins if not re.fullmatch(free, pin.partition("==")[0]))


def results(xml: Path) -> tuple[int, int, int]:
    """-> (passed, failed, skipped)"""
    suite = next(ET.parse(xml).getroot().iter("testsuite"))
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return total - failed - skipped, failed, skipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--tests", nargs="*", help="instead of the package's own")
    arguments = parser.parse_args()
    package = PACKAGES[arguments.package]
    with tempfile.TemporaryDirectory(prefix="fuseid-versions-") as folder:
        work = Path(folder)
        python = work / "venv" / "bin" / "python"

        def install(*what: str) -> None:
            subprocess.run([UV, "pip", "install", "-q", "--python", str(python), *what], check=True, cwd=ROOT)

        subprocess.run([UV, "venv", "-q", "--seed", "-p", arguments.python, str(work / "venv")], check=True)
        install("-r", "requirements.lock", "-r", "requirements-bootstrap.lock")
        install("--no-deps", "--no-build-isolation", "-e", ".")
        (work / "constraints.txt").write_text(constraints(package.free))
        print("| version | passed | failed | skipped | minutes |\n| --- | --- | --- | --- | --- |", flush=True)
        for version in arguments.versions:
            install("-c", str(work / "constraints.txt"), "-e", ".[dev]", f"{arguments.package}=={version}")
            started = time.monotonic()
            tests = arguments.tests or package.tests
            command = [str(python), "-m", "pytest", "-q", f"--junitxml={work / 'results.xml'}", *tests]
            with (Path(tempfile.gettempdir()) / f"{arguments.package}-{version}.log").open("w") as log:
                environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
                subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False)
            passed, failed, skipped = results(work / "results.xml")
            minutes = (time.monotonic() - started) / 60
            print(f"| {version} | {passed} | {failed} | {skipped} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
