"""What the site needs beside MkDocs: the two pages of benchmarks/, which lie outside of docs/, and links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = ("benchmarks/RESULTS.md", "benchmarks/gpu.md")


def on_files(files: Files, config: Any) -> Files:
    """Takes the pages in under the path that they have in the repository."""
    for path in OUTSIDE:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Points links as they hold in the repository to where their pages are on the site."""
    uri = page.file.src_uri
    here = posixpath.dirname(uri if uri in OUTSIDE else f"docs/{uri}")
    there = posixpath.dirname(uri)

    def moved(link: re.Match[str]) -> str:
        target, anchor = link["target"], link["anchor"] or ""
        meant = posixpath.normpath(posixpath.join(here, target))
        if uri not in OUTSIDE and meant not in OUTSIDE:
            return link[0]
        return f"]({posixpath.relpath(meant.removeprefix('docs/'), there or '.')}{anchor})"

    return re.sub(r"\]\((?P<target>(?!\w+:)[^)#\s]+\.md)(?P<anchor>#[^)]*)?\)", moved, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Names the theme's one dialog, which screen readers announce."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )
