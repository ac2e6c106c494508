"""The workbench's server: nobody gets in without the token, nothing is there that no page needs, an end at once."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from isheep.guard import HEADER, LOOPBACK
from isheep.workbench.server import _names
from tests.conftest import MAIN, environment
from tests.workbench.conftest import MakeRun, instruction, workbench

Answer = tuple[int, dict[str, str], str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from isheep.recipe import load_recipe
    from isheep.store.run import Run

    directory = tmp_path_factory.mktemp("server") / "run"
    with Run.create_or_resume(directory, load_recipe("lamb")) as run:
        run.iteration(1).table("instructions").append([instruction(0, "Name a secret bird.")])
    return directory


@pytest.fixture(scope="module")
def link(made: Path) -> Iterator[str]:
    with workbench([made]) as (url, _):
        yield url


def asked(link: str, path: str, method: str = "GET", token: bool = True, **headers: str) -> Answer:
    """What the server answers, a path of any form included."""
    split = urlsplit(link)
    key = parse_qs(split.query)["token"][0]
    connection = http.client.HTTPConnection(str(split.hostname), split.port, timeout=60)
    own = {HEADER: key} if token else {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.putrequest(method, path, skip_host="host" in headers)
    for name, value in {**own, **named}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode("latin-1")
    connection.close()
    return found


PATHS = ["/", "/config", "/theme.css", "/assets/index.js", "/gradio_api/queue/data?session_hash=x", "/gradio_api/info"]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_wants_the_token(link: str, path: str) -> None:
    for method in ("GET", "HEAD", "POST"):
        assert asked(link, path, method, token=False)[0] == 403
    assert asked(link, path, cookie="isheep_token=guess", token=False)[0] == 403
    assert asked(link, f"{path}{'&' if '?' in path else '?'}token=guess", token=False)[0] == 403


def test_another_host_or_origin_is_refused_with_the_token(link: str) -> None:
    assert asked(link, "/")[0] == 200
    assert asked(link, "/", host="evil.example")[0] == 403
    assert asked(link, "/", origin="http://evil.example")[0] == 403
    assert asked(link, "/gradio_api/queue/join", "POST", sec_fetch_site="cross-site")[0] == 403


def test_the_link_leaves_a_cookie_named_after_the_port(link: str) -> None:
    split = urlsplit(link)
    status, headers, _ = asked(link, f"/?{split.query}", token=False)
    assert status == 200
    assert headers["set-cookie"].startswith(f"isheep_token_{split.port}=")
    cookie = headers["set-cookie"].partition(";")[0]
    assert asked(link, "/config", token=False, cookie=cookie)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=RUN/manifest.json",
        "/gradio_api/file/RUN/recipe.yaml",
        "/gradio_api/file=http://evil.example/x",
        "/gradio_api/proxy=http://evil.example/x",
        "/assets/../../../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static//etc/passwd",
        "/gradio_api/queue/../file=/etc/passwd",
        "/gradio_api/upload",
        "/gradio_api/run/predict",
        "/gradio_api/call/predict",
        "/gradio_api/openapi.json",
        "/gradio_api/runs",
        "/gradio_api/vibe-code/",
        "/monitoring",
        "/docs",
        "/openapi.json",
        "/custom_component/x",
        "/RUN/recipe.yaml",
    ],
)
def test_no_file_and_no_other_door_of_gradios_is_there(link: str, made: Path, path: str) -> None:
    for method in ("GET", "POST"):
        status, _, body = asked(link, path.replace("RUN", str(made)), method)
        assert status in (403, 404, 405)
        assert "root:" not in body
        assert "select:" not in body


def test_scripts_run_by_number_alone(link: str) -> None:
    pages = [asked(link, "/") for _ in range(2)]
    policies = [headers["content-security-policy"] for _, headers, _ in pages]
    scripts = policies[0].partition("script-src")[2].partition(";")[0]
    assert "unsafe-inline" not in scripts
    assert "http" not in policies[0]
    assert policies[0] != policies[1]
    number = scripts.partition("'nonce-")[2].partition("'")[0]
    assert pages[0][2].count("<script") == pages[0][2].count(f'<script nonce="{number}"') > 2
    assert "Name a secret bird." not in pages[0][2]


def test_no_page_of_others_frames_ours_and_the_link_is_told_nobody(link: str) -> None:
    _, headers, _ = asked(link, "/")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_it_listens_to_this_machine_alone(link: str) -> None:
    assert urlsplit(link).hostname == LOOPBACK
    port = urlsplit(link).port
    others = {str(one[4][0]) for one in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {LOOPBACK}
    for address in others:
        if not address.startswith("127."):
            with pytest.raises(OSError, match="refused"), socket.create_connection((address, port), timeout=5):
                pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_and_quietly(made: Path, number: signal.Signals) -> None:
    with workbench([made]) as (url, process):
        assert asked(url, "/")[0] == 200
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def refused(*words: str, before: str = "") -> str:
    code = f"{before}\nfrom isheep.cli import main; main()"
    command = [sys.executable, "-c", code, "ui", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_what_cannot_be_served_is_refused(made: Path, link: str, tmp_path: Path) -> None:
    assert "is not a run" in refused(str(tmp_path))
    assert "is not there" in refused(str(made), str(tmp_path / "nowhere"))
    assert "Give another --port" in refused(str(made), "--port", str(urlsplit(link).port))
    assert "isheep[ui]" in refused(str(made), before="import sys; sys.modules['gradio'] = None")


def test_an_empty_run_is_shown(make_run: MakeRun) -> None:
    with workbench([make_run([])]) as (url, _):
        assert asked(url, "/")[0] == 200


def test_who_listens_to_others_answers_to_their_names() -> None:
    assert _names("192.0.2.7") == ("192.0.2.7",)
    assert _names("::1") == ("[::1]",)
    assert socket.gethostname() in _names("0.0.0.0")  # noqa: S104  # nothing listens


def test_the_commands_need_no_gradio() -> None:
    code = "import sys; import isheep.cli; assert not {'gradio', 'uvicorn', 'fastapi', 'torch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
    assert MAIN[0] == sys.executable
