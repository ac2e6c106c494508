"""The site builds without a warning, and its pages ask nobody else for anything, fit a phone, and keep nobody out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from tests.browser import NEEDS_BROWSER, PHONE, WIDE, Seen, chromium, faults
from tests.docs.pages import DOCS, ROOT

LOOKED_AT = ("index.html", "tutorial.html", "howto/read-a-report.html", "reference/recipe.html", "reference/api.html")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Serves(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Serves, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    wanted = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")}
    assert wanted <= {page.relative_to(site) for page in site.rglob("*.html")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"([^\"]+)|<link[^>]* href=\"([^\"]+)", text)
        assert not [url for pair in loaded for url in pair if re.match(r"(https?:)?//", url)], page


def test_a_link_out_of_docs_leads_to_its_page(site: Path) -> None:
    assert 'href="benchmarks/RESULTS.html"' in (site / "scale.html").read_text(encoding="utf-8")
    assert 'href="../benchmarks/gpu.html"' in (site / "explanation" / "measured.html").read_text(encoding="utf-8")


@NEEDS_BROWSER
@pytest.mark.parametrize("path", LOOKED_AT)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_in_a_browser(browser: Browser, address: str, path: str, scheme: Literal["light", "dark"]) -> None:
    for width in (WIDE, PHONE):
        with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
            page = context.new_page()
            seen = Seen(page)
            page.goto(f"{address}/{path}", wait_until="networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert [url for url in seen.requests if not url.startswith((address, "data:", "blob:"))] == []
            assert seen.complaints == []
            assert faults(page) == []


@NEEDS_BROWSER
def test_the_search_finds_a_setting(browser: Browser, address: str) -> None:
    with browser.new_context(viewport={"width": WIDE, "height": 900}) as context:
        page = context.new_page()
        seen = Seen(page)
        page.goto(f"{address}/index.html")
        page.get_by_role("textbox", name="Search").fill("near-twins")
        page.locator(".md-search-result__item").first.wait_for()
        assert page.locator(".md-search-result__item a[href*='health.html']").count()
        assert all(url.startswith((address, "data:", "blob:")) for url in seen.requests)
