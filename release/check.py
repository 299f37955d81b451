# /// script
# requires-python = ">=3.11"
# dependencies = ["check-wheel-contents==0.6.3", "twine==7.0.0", "validate-pyproject==0.27"]
# ///
"""`make release-check`: builds wheel and sdist of the last commit twice, and checks what a release has to hold.

The files are the same byte for byte each time; they hold the sources and nothing else; the sdist builds the same wheel;
the metadata is valid; and in a fresh environment of each Python that pyproject.toml allows and this machine has, with
the locked dependencies, the wheel alone runs the demo. `--no-install` leaves the environments out. The result is in
`dist/`.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
UV = os.environ.get("UV", "uv")
# Of the root, what an sdist holds beside the folders of code.
ROOT_FILES = {"LICENSE", "NOTICE", "README.md", "pyproject.toml", "MANIFEST.in"}
GENERATED = {"PKG-INFO", "setup.cfg", "fuseid.egg-info/*"}
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE", "licenses/NOTICE"}
MAX_WHEEL_BYTES = 30 << 20


def main(installs: bool) -> None:
    if run("git", "status", "--porcelain", cwd=ROOT):
        print("note: what is not committed is not checked")
    with tempfile.TemporaryDirectory(prefix="fuseid-release-") as name:
        temporary = Path(name)
        first, second = (build(temporary / each) for each in ("one", "two"))
        for path in first:
            same = path.read_bytes() == (second[0].parent / path.name).read_bytes()
            require(same, f"{path.name} is not the same when it is built again")
        sdist, wheel = first
        rebuilt = temporary / "rebuilt"
        run(UV, "build", "-q", "--wheel", "--out-dir", rebuilt, sdist, cwd=temporary, env=commit_time())
        require((rebuilt / wheel.name).read_bytes() == wheel.read_bytes(), "the sdist builds another wheel")
        print(f"built twice, the same bytes; the sdist builds the same wheel: {wheel.name}, {sdist.name}")
        project = tomllib.loads(committed("pyproject.toml").decode())
        version = project["project"]["version"]
        require(f"## [{version}]" in committed("CHANGELOG.md").decode(), f"CHANGELOG.md has nothing about {version}")
        check_wheel(wheel, project)
        check_sdist(sdist)
        reader = build_reader(wheel, temporary / "reader")
        check_metadata(wheel, sdist, reader)
        if installs:
            for python in pythons(project["project"]["classifiers"]):
                check_installed(python, wheel, temporary / f"python{python}", version)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for path in (*first, reader):
            shutil.copy(path, ROOT / "dist")
    print(f"dist/{sdist.name}, dist/{wheel.name} and dist/{reader.name} can be released")


def require(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"error: {what}")


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=False, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True
    )
    require(
        done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def committed(path: str) -> bytes:
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True).stdout


def build(folder: Path) -> tuple[Path, Path]:
    """-> (sdist, wheel) of the last commit, with its time as the time of every file."""
    sources, out = folder / "sources", folder / "dist"
    sources.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-c", "tar.umask=0022", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        opened.extractall(sources, filter="tar")
    for kind in ("--sdist", "--wheel"):
        run(UV, "build", "-q", kind, "--out-dir", out, sources, cwd=folder, env=commit_time())
        shutil.rmtree(sources / "build", ignore_errors=True)
    (sdist,), (wheel,) = out.glob("fuseid-*.tar.gz"), out.glob("fuseid-*.whl")
    normalise(sdist, int(commit_time()["SOURCE_DATE_EPOCH"]))
    return sdist, wheel


def build_reader(wheel: Path, out: Path) -> Path:
    """-> the wheel of `fuseid-reader`, made of that of `fuseid`."""
    run(sys.executable, ROOT / "deploy" / "reader_wheel.py", wheel, "--out", out, cwd=ROOT)
    (reader,) = out.glob("*.whl")
    return reader


def commit_time() -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()}


def normalise(sdist: Path, epoch: int) -> None:
    """Gives each file of an sdist the commit's time and no user; setuptools writes those of the build."""
    content = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode, member.pax_headers = 0o755 if member.isdir() else 0o644, {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=epoch) as packed:
        packed.write(content.getvalue())


def tracked() -> list[str]:
    return run("git", "ls-tree", "-r", "--name-only", "HEAD", cwd=ROOT).splitlines()


def expected_files(project: dict) -> dict[str, str]:
    """-> the path in the wheel of each committed file that belongs into it, and the one in the repository."""
    setup = project["tool"]["setuptools"]
    found = {}
    for package in setup["packages"]:
        folder = setup["package-dir"][package]
        patterns = [f"{folder}/*.py", *(f"{folder}/{each}" for each in setup["package-data"].get(package, []))]
        for path in tracked():
            # As in setuptools, `*` matches within one folder.
            depth = path.count("/")
            if any(depth == each.count("/") and fnmatch.fnmatchcase(path, each) for each in patterns):
                found[f"{package.replace('.', '/')}{path.removeprefix(folder)}"] = path
    return found


def check_wheel(wheel: Path, project: dict) -> None:
    require(wheel.stat().st_size <= MAX_WHEEL_BYTES, f"the wheel has {wheel.stat().st_size >> 20} MiB")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
        expected = expected_files(project)
        wanted = {*expected, *(f"{info}/{each}" for each in METADATA)}
        require(names == wanted, f"the wheel has {sorted(names - wanted)} too many and lacks {sorted(wanted - names)}")
        for name, path in expected.items():
            require(opened.read(name) == committed(path), f"{name} is not what is committed")
    print(f"wheel: {len(names)} files, {wheel.stat().st_size >> 20} MiB, all of them committed")


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        names = {member.name.partition("/")[2] for member in opened.getmembers() if member.isfile()}
    generated = {name for name in names if any(fnmatch.fnmatchcase(name, each) for each in GENERATED)}
    project = tomllib.loads(committed("pyproject.toml").decode())
    wanted = {*expected_files(project).values(), *ROOT_FILES}
    require(
        names - generated == wanted, f"the sdist differs from what is committed: {sorted((names - generated) ^ wanted)}"
    )
    print(f"sdist: {len(names)} files, {sdist.stat().st_size >> 20} MiB")


def check_metadata(wheel: Path, sdist: Path, reader: Path) -> None:
    run(BIN / "twine", "check", "--strict", str(wheel), str(sdist), str(reader), cwd=ROOT)
    run(BIN / "validate-pyproject", "pyproject.toml", cwd=ROOT)
    # Folders without __init__.py are the design (docs/decisions/0001-layout.md).
    run(BIN / "check-wheel-contents", "--no-config", "--package-omit", "*", str(wheel), cwd=ROOT)
    print("metadata: valid, and the description can be rendered")


def pythons(classifiers: list[str]) -> list[str]:
    """The versions that pyproject.toml names and this machine has."""
    allowed = [each.rpartition(" ")[2] for each in classifiers if re.fullmatch(r".* :: Python :: 3\.\d+", each)]
    there = [each for each in allowed if finds(each)]
    for each in sorted({*allowed} - {*there}):
        print(f"Python {each}: not on this machine, not checked")
    require(bool(there), "no Python that pyproject.toml names")
    return there


def finds(version: str) -> bool:
    command = [UV, "python", "find", "--no-python-downloads", "--no-project", version]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def check_installed(python: str, wheel: Path, folder: Path, version: str) -> None:
    folder.mkdir()
    environment, lock = folder / "venv", folder / "requirements.lock"
    lock.write_bytes(committed("requirements.lock"))
    run(UV, "venv", "-q", "--no-project", "--no-python-downloads", "--python", python, environment, cwd=folder)
    target = ["--python", environment / "bin" / "python"]
    run(UV, "pip", "install", "-q", *target, "--compile-bytecode", "--constraint", lock, wheel, cwd=folder)
    fuseid = environment / "bin" / "fuseid"
    # `uv run` is above this process: Ray would have its workers started by it, too.
    clean = {"PYTHONPATH": "", "PATH": "/usr/bin:/bin", "HOME": str(folder), "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    require(run(fuseid, "--version", cwd=folder, env=clean).strip() == f"fuseid {version}", "another version answers")
    where = run(
        environment / "bin" / "python", "-c", "import fuseid.core.config as c; print(c.__file__)", cwd=folder, env=clean
    )
    require(where.startswith(str(environment)), f"fuseid is imported from {where}")
    print(
        run(environment / "bin" / "python", ROOT / "release" / "licences.py", "--check", cwd=folder, env=clean), end=""
    )
    done = run(fuseid, "demo", cwd=folder, env=clean)
    require((folder / "demo-output" / "report.html").is_file(), f"the demo left no report:\n{done}")
    items = re.search(r"\d+ items by ID prefix", done)
    print(f"Python {python}: the wheel alone runs the demo ({items.group() if items else 'done'})")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main("--no-install" not in sys.argv[1:])
