"""The page of a real run, in a real browser: on a screen and a phone, light and dark, for everybody, by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import NEEDS_BROWSER, PHONE, WIDE, Seen, chromium, faults
from tests.cli.conftest import Finished, isheep

pytestmark = NEEDS_BROWSER

LARGEST = 5_000_000
"""Bytes."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def run(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of its own, with a report and its figures."""
    directory = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(finished(), directory)
    ended = isheep("report", directory)
    assert ended.returncode == 0, ended.stderr
    return directory


@pytest.fixture(scope="module")
def status(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(isheep("status", run, "--json").stdout)
    return found


def opened(browser: Browser, run: Path, width: int = WIDE, scheme: str = "light") -> tuple[Page, Seen]:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    seen = Seen(page)
    page.goto((run / "report.html").as_uri())
    return page, seen


@pytest.mark.parametrize("width", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_stands_by_itself_and_lets_everybody_in(browser: Browser, run: Path, width: int, scheme: str) -> None:
    page, seen = opened(browser, run, width, scheme)
    assert seen.requests == [(run / "report.html").as_uri()]
    assert seen.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert faults(page) == []
    page.close()


def test_it_is_small_enough_to_send(run: Path) -> None:
    assert 50_000 < (run / "report.html").stat().st_size < LARGEST


def table(page: Page, caption: str) -> dict[str, list[str]]:
    """Row header -> the figures of its cells, without what stands small beside them."""
    rows = page.locator("table", has=page.locator("caption", has_text=caption)).first.locator("tbody tr")
    found = {}
    for row in rows.all():
        cells = [cell.evaluate("cell => cell.firstChild.textContent") for cell in row.locator("td").all()]
        found[row.locator("th").inner_text()] = [str(cell).strip() for cell in cells]
    return found


def test_its_figures_are_those_of_status(browser: Browser, run: Path, status: dict[str, Any]) -> None:
    page, _ = opened(browser, run)
    rows = status["iterations"]
    funnel = table(page, "Records, and their share")
    for label, values in {
        "made": [row["instructions"]["made"] for row in rows[1:]],
        "answered": [row["responses"]["made"] for row in rows[1:]],
        "assessed": [row["assessed"] for row in rows[1:]],
        "kept": [row["kept"] for row in rows[1:]],
    }.items():
        assert [int(cell.replace(",", "")) for cell in funnel[label]] == values
    for row, column in zip(rows[1:], range(len(rows) - 1), strict=True):
        for stage in ("instructions", "responses", "selection"):
            for rule, count in row[stage]["dropped"].items():
                assert int(funnel[f"dropped by {rule}"][column]) == count
    scores = list(table(page, "lamb").values())
    for row, cells in zip(rows, scores, strict=True):
        assert [float(cell) for cell in cells] == [
            pytest.approx(one["value"], abs=5e-4) for one in row["scores"]["lamb"].values()
        ]
    health = table(page, "What each iteration did")
    shares = [row["health"]["keep_share"] for row in rows[1:]]
    assert [float(cell.rstrip("%")) for cell in health["kept, of all made"]] == [
        pytest.approx(100 * share, abs=0.05) for share in shares
    ]
    best = rows[status["best_iteration"]]["scores"]["lamb"]["prompt_level_strict_acc"]["value"]
    assert f"{best:.3f}" in page.locator("#verdict .verdict").inner_text()
    page.close()


def test_the_first_screen_says_whether_it_helped(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run)
    for part in ("#verdict .verdict", "#verdict + .charts figure"):
        box = page.locator(part).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 900
    page.close()


def test_every_figure_of_a_table_leads_to_a_file_that_is_there(browser: Browser, run: Path) -> None:
    page, _ = opened(browser, run)
    targets = {str(link.get_attribute("href")) for link in page.locator("td a").all()}
    assert len(targets) > 8
    assert [target for target in targets if not (run / target).exists()] == []
    page.close()


def test_figures_lie_beside_it_for_papers(run: Path) -> None:
    names = {path.name for path in (run / "figures").iterdir()}
    assert {path.removesuffix(".svg") for path in names if path.endswith(".svg")} == {
        path.removesuffix(".png") for path in names if path.endswith(".png")
    }
    assert {"plane.svg", "high-share.svg", "openings-1.svg", "length-response.svg", "square-1.png"} <= names
