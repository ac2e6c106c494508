"""The report in a real browser: planted scripts, which run where they stand raw, do not run in it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from isheep.recipe import parse_recipe
from isheep.records import Assessment, Instruction, Response, Selection
from isheep.report import write_report
from isheep.store.run import Run
from tests.browser import CHROMIUM, NEEDS_BROWSER
from tests.nasties import HUGE, NASTIES

pytestmark = NEEDS_BROWSER

POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
FOR_A_NAME = "\"'><img src=x onerror=document.title='RAN'>"
"""A payload that can be the name of a folder."""


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that anybody asked it for."""
    paths: list[str] = []

    class Listens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Listens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


def payload(address: str) -> str:
    """Leaves whatever it stands in; then sets the title, adds an element and asks the address, each in several ways."""
    runs = f"document.title='RAN';document.body.appendChild(document.createElement('ran'));fetch('{address}/fetch')"
    return (
        f"--></script></style></title></textarea></svg></pre>\"'>"
        f'<img src="{address}/img" onerror="{runs}"><svg onload="{runs}"></svg><script>{runs}</script>'
        f'<iframe src="{address}/frame"></iframe><link rel="stylesheet" href="{address}/style">'
    )


def opened(page: Path, profile: Path) -> str:
    """The document as it is once the page has been open for some seconds."""
    assert CHROMIUM is not None
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    ended = subprocess.run(
        [CHROMIUM, *words, f"--user-data-dir={profile}", page.as_uri()], capture_output=True, timeout=120, check=True
    )
    return ended.stdout.decode(errors="replace")


def fill(run: Run, planted: str) -> None:
    """A run with the payload wherever text can come from outside, and with every nasty."""
    run.note_command(["isheep", "run", planted])
    run.iteration(0).write_json("scores.json", {planted: {planted: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}}})
    texts = [planted, *(nasty.text for nasty in NASTIES if nasty not in HUGE)]
    for start in range(0, len(texts), 9):
        one = run.iteration(start // 9 + 1)
        rows = [(f"{number} {planted}", text) for number, text in enumerate(texts[start : start + 9])]
        one.table("instructions").append(
            [Instruction(id_, one.number, index, text, text, [], 0, "p") for index, (id_, text) in enumerate(rows)]
            + [Instruction(f"drop {planted}", one.number, 9, planted, planted, [], 0, "p", planted, planted)]
        )
        one.table("responses").append([Response(id_, text, planted, 1) for id_, text in rows])
        one.table("assessments").append([Assessment(id_, None, 9.0, text, planted, planted) for id_, text in rows])
        one.table("selection").append([Selection(id_, True) for id_, _ in rows])
        one.write_json("health.json", {planted: 1.0, "alarms": {planted: planted}})
        one.write_json("train.json", {"examples": 1, "steps": 1, "loss": 1.0, planted: planted})
        one.write_json("contamination.json", {planted: {"texts": 1, "hits": [{"id": planted, "shared": planted}]}})
    run.note_end("failed", planted)


def test_no_planted_script_runs(tmp_path: Path, asked: tuple[str, list[str]]) -> None:
    address, paths = asked
    planted = payload(address)
    raw = f"<!DOCTYPE html><html><head>%s<title>quiet</title></head><body><p>{planted}</p></body></html>"

    (tmp_path / "raw.html").write_text(raw % "")
    seen = opened(tmp_path / "raw.html", tmp_path / "profile")
    assert "<title>RAN</title>" in seen
    assert "<ran></ran>" in seen
    assert {"/img", "/fetch", "/frame", "/style"} <= set(paths)

    # The second wall alone: were anything not escaped, the policy of the page would still stop it.
    paths.clear()
    (tmp_path / "policy.html").write_text(raw % POLICY)
    seen = opened(tmp_path / "policy.html", tmp_path / "profile")
    assert "<title>quiet</title>" in seen
    assert ("<ran>" in seen, paths) == (False, [])

    settings = {"model": {"path": planted}, "evaluate": {"benchmarks": [planted]}}
    with Run.create_or_resume(tmp_path / FOR_A_NAME, parse_recipe(settings, "test")) as run:
        fill(run, planted)
    page = write_report(run)
    assert POLICY in page.read_text(encoding="utf-8")
    seen = opened(page, tmp_path / "profile")
    assert "<title>RAN" not in seen
    for element in ("<ran", "<img", "<iframe", "<script", "<link", "<base", "<object", "<textarea"):
        assert element not in seen
    assert "&lt;img src=" in seen
    assert paths == []
