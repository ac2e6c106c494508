"""Writes the lock files beside it: for every version pinned in constraints.txt the hashes that its index gives.

    make lock    # after a change of constraints.txt or pyproject.toml, in an environment that holds what is pinned

`base.txt` is what isheep itself needs beside torch (`torch-cpu.txt` where pip finds that build, else `torch.txt`),
`test.txt` and `quality.txt` what these extras add, `build.txt` what builds it.
The requirements-*.txt of the other environments are written anew with the hashes of the versions that they name. Which
files an index holds is asked of pip, which knows how this machine reaches its indexes; nothing is downloaded but lists.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from pip._internal.commands.index import IndexCommand
from pip._internal.index.collector import parse_links
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

HERE = Path(__file__).parent
ROOT = HERE.parent
OTHERS = ("requirements-vllm.txt", "requirements-evalplus.txt", "requirements-alpaca.txt")

CPU_TORCH = ("2.13.0+cpu", "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b")
"""Version and hash of the build for CPUs (x86_64, Python 3.11), which needs no CUDA and lies in no index. It has
a lock of its own: of two files of one version pip takes the one whose hash an index gives, the other one."""

HEAD = "# What `make` installs ({}), with the hashes of every file that may be it. Written by `make lock`.\n"

PYTHONS = ("py3", "py2.py3", "py311", "py312", "py313", "cp311", "cp312", "cp313")
"""Interpreters; wheels for the stable interface are for older ones, too."""
MACHINES = ("x86_64", "aarch64")


class Index:
    """The indexes that pip is configured with; the public one decides, the others say what it lacks."""

    def __init__(self) -> None:
        command = IndexCommand("index", "")
        options, _ = command.parse_args(["versions", "any"])
        self._collector = command._build_package_finder(options, command._build_session(options))._link_collector

    def hashes(self, name: str, version: str) -> list[str]:
        """SHA-256 of the sdist and of every wheel for Linux; raises ValueError where there is none."""
        sources = self._collector.collect_sources(project_name=name, candidates_from_page=lambda page: [])
        for source in sources.index_urls:
            page = self._collector.fetch_response(source.link) if source and source.link else None
            links = list(parse_links(page)) if page else []
            if found := {link.hash for link in links if link.hash and _fits(link.filename, version)}:
                return sorted(found)
        raise ValueError(f"no index holds {name} {version} for Linux")


def main() -> None:
    """Writes all of them."""
    index, pins = Index(), _pins(ROOT / "constraints.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: Mapping[str, list[str]] = project["optional-dependencies"]
    base = _needed(project["dependencies"])
    test = _needed([*project["dependencies"], *extras["test"]])
    quality = _needed([*project["dependencies"], *extras["test"], *extras["quality"]])
    build = {"setuptools"}
    own = build | {"torch"}
    groups = {"build": build, "torch": {"torch"}, "base": base - own, "test": test - base, "quality": quality - test}
    for group, names in groups.items():
        _write(HERE / f"{group}.txt", HEAD.format(group), {name: pins[name] for name in sorted(names)}, index)
    (HERE / "torch-cpu.txt").write_text(HEAD.format("torch-cpu") + _pin("torch", CPU_TORCH[0], [CPU_TORCH[1]]), "utf-8")
    for file in (ROOT / name for name in OTHERS):
        head = "".join(line for line in file.read_text("utf-8").splitlines(keepends=True) if line.startswith("#"))
        _write(file, head, {name: version for name, version in _pins(file).items() if name != "torch"}, index)


def _write(file: Path, head: str, pins: Mapping[str, str], index: Index) -> None:
    lines = [head]
    for name, version in pins.items():
        lines.append(_pin(name, version, index.hashes(name, version)))
    file.write_text("".join(lines), encoding="utf-8")
    print(f"{file.name}: {len(pins)} packages", file=sys.stderr)


def _pin(name: str, version: str, hashes: Iterable[str]) -> str:
    return " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in hashes)]) + "\n"


def _pins(file: Path) -> dict[str, str]:
    """Name -> version of every pin."""
    found = re.findall(r"^([\w.-]+)==([^\s\\]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def _needed(roots: Iterable[str]) -> set[str]:
    """Every package that these requirements bring, by what is installed here."""
    todo, seen = list(roots), set[str]()
    while todo:
        wanted = Requirement(todo.pop())
        key = f"{canonicalize_name(wanted.name)}{sorted(wanted.extras)}"
        if key not in seen:
            seen.add(key)
            todo += _requirements(wanted)
    return {key.partition("[")[0] for key in seen}


def _requirements(wanted: Requirement) -> Iterator[str]:
    try:
        told = requires(wanted.name) or []
    except PackageNotFoundError:
        raise SystemExit(f"{wanted.name} is not installed: `make .venv/installed-quality` first") from None
    for one in told:
        marker = Requirement(one).marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
            yield one


def _fits(filename: str, version: str) -> bool:
    """Whether a file is that version as source, or as a wheel for Linux and these Pythons."""
    if not filename.endswith(".whl"):
        try:
            return str(parse_sdist_filename(filename)[1]) == version
        except ValueError:
            return False
    try:
        _, found, _, tags = parse_wheel_filename(filename)
    except ValueError:
        return False
    return str(found) == version and any(
        (tag.interpreter in PYTHONS or tag.abi == "abi3")
        and not tag.abi.endswith("t")
        and (tag.platform == "any" or ("manylinux" in tag.platform and tag.platform.endswith(MACHINES)))
        for tag in tags
    )


if __name__ == "__main__":
    main()
