"""The workbench in a browser, on a real run and on one that is being written: what a user does, what must not be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from isheep.recipe import load_recipe
from isheep.records import Response
from isheep.store.joined import join
from isheep.store.marks import read_marks
from isheep.store.run import Run
from tests.browser import NEEDS_BROWSER, chromium
from tests.workbench.conftest import HOSTILE, MARKDOWN, instruction, workbench

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
pytestmark = NEEDS_BROWSER

WAIT_MS = 60_000


class Desk:
    """A page of the workbench, all that it asked for, and the runs behind it."""

    def __init__(self, page: Any, link: str, real: Path, growing: Run) -> None:
        self.page, self.link, self.real, self.growing = page, link, real, growing
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def choose(self, label: str, value: str, nth: int = 0) -> None:
        """Picks from a list that drops down."""
        box = self.page.get_by_label(label, exact=True).nth(nth)
        box.click()
        # Its own list: that of another may still be closing.
        options = self.page.locator(f"[id='{box.get_attribute('aria-controls')}']")
        options.get_by_role("option", name=value, exact=True).click()

    @property
    def cells(self) -> Any:
        """Of the list of records."""
        return self.page.locator("#records [role=gridcell]")


@pytest.fixture(scope="module")
def desk(lamb_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One server and one page for all that follows; the second run is being written by this process."""
    folder = tmp_path_factory.mktemp("desk")
    real = folder / "whole"
    shutil.copytree(lamb_run, real)
    with Run.create_or_resume(folder / "growing", load_recipe("lamb", ["iterations=2"])) as growing:
        planted = [
            instruction(0, HOSTILE, input=MARKDOWN),
            instruction(1, MARKDOWN, dropped_by=HOSTILE, reason=HOSTILE),
        ]
        growing.iteration(1).table("instructions").append(planted)
        growing.iteration(1).table("responses").append([Response("i0000", f"{MARKDOWN}\n{HOSTILE}", HOSTILE, 3)])
        with workbench([real, folder / "growing"]) as (link, _), chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(WAIT_MS)
            expect.set_options(timeout=WAIT_MS)
            made = Desk(page, link, real, growing)
            page.goto(link)
            page.get_by_role("tab", name="Progress").wait_for()
            yield made


@pytest.fixture(autouse=True)
def nothing_acts(desk: Desk) -> Iterator[None]:
    """Whatever a test does: no request leaves the origin, no text of a record runs, nothing complains."""
    yield
    origin = urlsplit(desk.link).netloc
    others = [
        url for url in desk.asked if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != origin
    ]
    assert others == []
    assert desk.page.evaluate("window.acted") is None
    assert desk.page.locator("img[src=x], img[src*=evil]").count() == 0
    assert desk.said == []


def test_a_running_run_moves_without_a_reload(desk: Desk) -> None:
    desk.tab("Progress")
    run = desk.page.locator(".wb-run", has_text="growing")
    expect(run).to_contain_text("running")
    row = run.locator("tbody tr").nth(1)
    expect(row.locator("td").nth(1)).to_have_text("2")
    desk.page.evaluate("window.reloaded = 'no'")
    desk.growing.iteration(1).table("instructions").append([instruction(n, "Name a bird.") for n in range(2, 9)])
    expect(row.locator("td").nth(1)).to_have_text("9")
    assert desk.page.evaluate("window.reloaded") == "no"
    expect(desk.page.locator(".wb-run", has_text="whole")).to_contain_text("finished")


def test_records_are_filtered_and_one_is_opened(desk: Desk) -> None:
    desk.tab("Records")
    records = [one for number in (1, 2) for one in join(Run.read(desk.real).iteration(number))]
    dropped = [one for one in records if one.dropped_by == "not_novel"]
    assert dropped
    found = desk.page.locator("#found")
    expect(found).to_contain_text(f"{len(records)} of {len(records)} records")
    desk.choose("Dropped by", "not_novel")
    expect(found).to_contain_text(re.compile(rf"^\s*{len(dropped)} of {len(records)} records"))
    expect(desk.cells.nth(0)).to_have_text(dropped[0].instruction.id)
    desk.cells.nth(6).click()
    life = desk.page.locator("#life")
    expect(life).to_contain_text(str(dropped[0].reason))
    expect(life).to_contain_text(dropped[0].instruction.instruction)
    expect(life.get_by_role("row", name=re.compile("^novelty dropped"))).to_be_visible()
    prompt = desk.page.locator("#prompts details").first
    prompt.click()
    expect(prompt.locator("pre")).to_contain_text("1. Instruction:")
    desk.choose("Dropped by", "all")
    desk.page.locator("#search input").fill("no such words anywhere")
    desk.page.locator("#search input").press("Enter")
    expect(found).to_contain_text(re.compile(r"^\s*0 of"))
    # Asked for quicker than answers come, the last of them counts.
    for text in ("", "no such words anywhere", "nor these", ""):
        desk.page.locator("#search input").fill(text)
        desk.page.locator("#search input").press("Enter")
    expect(found).to_contain_text(f"{len(records)} of {len(records)}")


def test_a_mark_is_kept_and_counted(desk: Desk) -> None:
    desk.tab("Records")
    record = next(one for one in join(Run.read(desk.real).iteration(1)) if one.kept)
    desk.page.get_by_label("Record (its id)").fill(record.instruction.id)
    desk.page.get_by_label("Record (its id)").press("Enter")
    expect(desk.page.locator("#life")).to_contain_text(record.instruction.id)
    desk.page.get_by_role("radio", name="good").check()
    desk.page.get_by_label("Note").fill(HOSTILE)
    desk.page.get_by_role("button", name="Save the mark").click()
    expect(desk.page.get_by_text("Saved.")).to_be_visible()
    mark = read_marks(desk.real)[record.instruction.id]
    assert (mark.mark, mark.note) == ("good", HOSTILE)
    expect(desk.page.locator("#life")).to_contain_text("<img src=x")
    expect(desk.page.locator("#agreement")).to_contain_text("1 good, 0 bad")
    desk.choose("Hand mark", "good")
    expect(desk.page.locator("#found")).to_contain_text(re.compile(r"^\s*1 of"))
    desk.choose("Hand mark", "all")


def test_texts_of_records_are_text(desk: Desk) -> None:
    desk.tab("Records")
    desk.choose("Run", "growing")
    expect(desk.cells.nth(0)).to_have_text("i0000")
    expect(desk.cells.nth(6)).to_contain_text("<img src=x onerror=")
    expect(desk.cells.nth(7)).to_contain_text("**bold** [link](javascript:")
    desk.cells.nth(7).click()
    life = desk.page.locator("#life")
    expect(life).to_contain_text(HOSTILE)
    expect(life).to_contain_text(MARKDOWN)
    expect(desk.page.locator("#prompts details").first).to_be_visible()
    assert desk.page.locator("#life img, #life script, #life a, #records strong, #records a, #records img").count() == 0
    desk.choose("Run", "whole")
    expect(desk.cells.nth(0)).to_contain_text("01-000000")


def test_two_iterations_beside_each_other(desk: Desk) -> None:
    desk.tab("Compare")
    expect(desk.page.get_by_text("What was made of what")).to_be_visible()
    heads = {
        number: desk.page.get_by_role("columnheader", name=f"whole, iteration {number}").locator("visible=true").first
        for number in (1, 2)
    }
    desk.choose("Run, second", "whole")
    # The other run was at its iteration 1, which this one has, too.
    expect(heads[1]).to_be_visible()
    desk.choose("Iteration, second", "iteration 2")
    expect(heads[1]).not_to_be_visible()
    desk.choose("Iteration, first", "iteration 1")
    expect(heads[1]).to_be_visible()
    expect(heads[2]).to_be_visible()
    row = desk.page.get_by_role("row", name=re.compile("^lamb prompt level strict acc"))
    expect(row).to_contain_text(re.compile(r"\[.*noise"))
    expect(desk.page.get_by_role("row", name=re.compile("^instructions made"))).to_be_visible()


def test_the_base_and_the_last_iteration_answer(desk: Desk) -> None:
    desk.tab("Chat")
    expect(desk.page.get_by_role("checkbox", name="base")).to_be_checked()
    expect(desk.page.get_by_role("checkbox", name="iteration 2")).to_be_checked()
    expect(desk.page.get_by_role("checkbox", name="iteration 1")).not_to_be_checked()
    desk.page.get_by_label("Instruction", exact=True).fill("Write this word in capital letters.")
    desk.page.get_by_label("Input (what it is done to, or nothing)").fill("mouse")
    desk.page.get_by_role("button", name="Ask").click()
    answers = [desk.page.locator(f".wb-answer[data-model='{number}']") for number in (0, 2)]
    for answer in answers:
        expect(answer).to_have_attribute("data-state", re.compile("stop|length"))
    texts = [answer.locator("pre").inner_text() for answer in answers]
    assert all(texts)
    assert texts[0] != texts[1]


def test_a_phone_shows_it_without_scrolling_sideways(desk: Desk) -> None:
    desk.page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Progress", "Records", "Compare", "Chat"):
        more = desk.page.get_by_role("tab", name=name)
        if not more.is_visible():
            desk.page.locator(".overflow-menu button").first.click()
        desk.page.get_by_role("tab", name=name).or_(
            desk.page.locator(".overflow-dropdown button", has_text=name)
        ).first.click()
        assert desk.page.evaluate("document.documentElement.scrollWidth") <= 390
    desk.page.set_viewport_size({"width": 1280, "height": 900})


def test_a_run_that_is_taken_away_says_so(desk: Desk) -> None:
    shutil.rmtree(desk.real)
    desk.tab("Progress")
    expect(desk.page.locator(".wb-run", has_text="whole")).to_contain_text("is not there")
    desk.tab("Records")
    expect(desk.page.locator("#found")).to_contain_text("is not there")
