"""Writes the licences of everything that the locks name, as the packages themselves say them: `make licences`.

A package that is not installed here (the other environments' own) is listed with a dash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
LOCKS = (
    *(f"requirements/{group}.txt" for group in ("build", "torch", "base", "test", "quality")),
    "requirements-vllm.txt",
    "requirements-evalplus.txt",
    "requirements-alpaca.txt",
)

COPYLEFT = re.compile(r"\b[AL]?GPL|General Public|MPL|Mozilla Public", re.IGNORECASE)
NAMED = re.compile(r"Apache|MIT|BSD|ISC|PSF|Python Software|MPL|Mozilla|[AL]?GPL|Unlicense|Zlib|CC0|Public Domain")

HEAD = """# Licences

What `make` installs, by the lock that names it. The licence is what the package's own metadata says (`make licences`
writes this page); a dash stands for one that is not in the environment that wrote it, or that says nothing.

Copyleft (GPL, LGPL, MPL) is in bold. We use these packages unchanged and ship none of them: whoever passes on an
environment that holds them passes on their terms. MPL binds the files of the package itself, LGPL asks that its user
can replace the package, GPL would bind a whole that is passed on together.

| package | version | lock | licence |
|---|---|---|---|
"""


def main() -> None:
    """Writes the page."""
    PAGE.write_text(HEAD + "".join(rows()), encoding="utf-8")


def pinned() -> Iterator[tuple[str, str, str]]:
    """Lock, name and version of every package."""
    for lock in LOCKS:
        text = (ROOT / lock).read_text(encoding="utf-8")
        yield from (
            (lock, name, version) for name, version in re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE)
        )


def rows() -> Iterator[str]:
    """The table's lines, each package and version once, with the first lock that names it."""
    seen: set[tuple[str, str]] = set()
    for lock, name, version in pinned():
        if (name, version) not in seen:
            seen.add((name, version))
            licence = licence_of(name)
            marked = f"**{licence}**" if COPYLEFT.search(licence) else licence
            yield f"| {name} | {version} | {Path(lock).stem.removeprefix('requirements-')} | {marked} |\n"


def licence_of(name: str) -> str:
    """The licence expression, else the licence classifiers, else the first line of the licence field."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return "-"
    if expression := said.get("License-Expression"):
        return str(expression)
    classifiers = [
        one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or [] if one.startswith("License ::")
    ]
    if told := [one for one in classifiers if one != "OSI Approved"]:
        return ", ".join(told)
    first = (str(said.get("License") or "").strip().splitlines() or ["-"])[0]
    return first if len(first) <= 60 or NAMED.search(first) is None else str(NAMED.findall(first)[0])


if __name__ == "__main__":
    main()
