"""`isheep estimate`, as the user gives it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import SMALL, Finished, isheep


def test_by_a_run_that_is_there(finished: Finished) -> None:
    directory = finished(0)
    words = ("estimate", *SMALL, "size=960", "--probe", directory)
    shown = isheep(*words)
    assert shown.returncode == 0, shown.stderr
    for word in ("synthesize", "evaluate", "GPU-hours", "at most", "This stands on:", "96 records an iteration"):
        assert word in shown.stdout
    printed = isheep(*words, "--json")
    document = json.loads(printed.stdout)
    assert document["devices"] == 0
    assert document["seconds"] > 0
    assert {one["iteration"] for one in document["stages"]} == {0, 1, 2}
    responses = [one for one in document["stages"] if one["stage"] == "respond"]
    smaller = json.loads(isheep("estimate", *SMALL, "--probe", directory, "--json").stdout)
    known = [one for one in smaller["stages"] if one["stage"] == "respond"]
    assert [abs(one["read"] - 10 * other["read"]) <= 10 for one, other in zip(responses, known, strict=True)] == [
        True
    ] * 2


def test_by_data_sheets() -> None:
    shown = isheep("estimate", "lamb", "--gpu", "H100", "--gpus", "2")
    assert shown.returncode == 0, shown.stderr
    assert "evenly: 2, each on 1 of 2 GPUs" in shown.stdout


def test_what_is_wrong_is_one_message(tmp_path: Path) -> None:
    for words, message in (
        (("lamb", "--gpu", "h1000"), "--gpu: no data of a GPU `h1000`. Did you mean `h100`? Known are a10, "),
        (("lamb", "--gpus", "2"), "--gpus: of which kind is not said."),
        (("lamb", "model.path=nobody/nothing"), "model.path: there is no folder nobody/nothing, and the hub"),
    ):
        refused = isheep("estimate", *words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(message)
