"""The scripts: what they ask for, that shellcheck finds nothing, and that no word of theirs is more than a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep.errors import UserError
from isheep.submit import Cluster, script_of
from isheep.submit.resources import Resources
from isheep.submit.script import Job, clock, directive, quoted
from tests.nasties import FILES, MARKUP, TERMINAL, UNICODE

COMMAND = [sys.executable, "-P", "-m", "isheep", "run", "--dir", "/runs/mine", "--", "lamb", "size=40"]
JOB = Job(COMMAND, Path("/runs/mine"), Path("/home/me"), Resources(1, 0, 4, 2**32, 3600))
# No argument of a program holds a NUL or half of a pair.
HOSTILE = [
    nasty.text for nasty in (*MARKUP, *TERMINAL, *UNICODE, *FILES) if "\0" not in nasty.text and not nasty.surrogate
]

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def as_bash_reads(*texts: str) -> list[bytes]:
    ended = subprocess.run(
        ["bash", "-c", "printf '%s\\0' " + " ".join(map(quoted, texts))], capture_output=True, check=True
    )
    return ended.stdout.split(b"\0")[:-1]


def test_it_asks_for_what_the_job_takes() -> None:
    assert directives(script_of(JOB, "slurm")) == [
        f"--job-name={JOB.name}",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--cpus-per-task=4",
        "--mem=4096M",
        "--time=01:00:00",
        "--output=/runs/mine/submit.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:TERM@300",
    ]


def test_gpus_and_the_users_options_are_asked_for() -> None:
    job = replace(JOB, resources=Resources(2, 4, 32, 2**32 + 1, 90_061), options={"mem": "0", "exclusive": None})
    asked = directives(script_of(job, "slurm"))
    assert {"--nodes=2", "--gres=gpu:4", "--time=1-01:01:01", "--mem=0", "--exclusive"} <= set(asked)
    assert len([line for line in asked if line.startswith("--mem")]) == 1


def test_what_the_user_says_in_another_way_is_not_said_twice() -> None:
    job = replace(
        JOB, resources=replace(JOB.resources, gpus=2), options={"gpus-per-node": "a100:2", "mem-per-cpu": "4G"}
    )
    asked = directives(script_of(job, "slurm"))
    assert [line for line in asked if line.startswith(("--gres", "--gpu", "--mem"))] == [
        "--gpus-per-node=a100:2",
        "--mem-per-cpu=4G",
    ]


def test_a_short_job_is_told_of_its_end_later() -> None:
    short = replace(JOB, resources=replace(JOB.resources, seconds=600))
    assert "--signal=B:TERM@120" in directives(script_of(short, "slurm"))


def test_the_same_directory_has_the_same_name_and_no_other_has_it() -> None:
    assert JOB.name == replace(JOB, setup=("true",)).name
    assert JOB.name.startswith("isheep-mine-")
    assert JOB.name != replace(JOB, directory=Path("/other/mine")).name
    assert replace(JOB, directory=Path("/runs/--x\n$(y) ö")).name.startswith("isheep-x-y-")


@pytest.mark.parametrize("to", ["slurm", "ray"])
@pytest.mark.parametrize("ray", [False, True])
def test_shellcheck_finds_nothing(to: Cluster, ray: bool, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    hostile = replace(
        JOB,
        command=[*COMMAND, *HOSTILE[:60]],
        directory=Path("/runs/it's \"$(touch x)\" `y` ${z} 'q"),
        folder=Path("/home/me & you; exit\n#"),
        setup=("module load cuda",),
        options={"comment": 'a "quoted" `word`'},
        ray=ray,
    )
    for job in (JOB, replace(JOB, ray=ray), hostile):
        file = tmp_path / "submit.sh"
        file.write_text(script_of(job, to), encoding="utf-8")
        checked = subprocess.run(["shellcheck", str(file)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout


@given(st.lists(words, min_size=1, max_size=5))
def test_what_bash_reads_is_what_was_given(texts: list[str]) -> None:
    assert as_bash_reads(*texts) == [text.encode() for text in texts]


@given(words)
def test_a_word_stands_in_one_line_and_hides_nothing(text: str) -> None:
    shown = quoted(text)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_path_that_is_no_utf8_stays_what_it_is() -> None:
    path = os.fsdecode(b"/runs/\xff\xfe")
    assert as_bash_reads(path) == [b"/runs/\xff\xfe"]


@pytest.mark.parametrize("to", ["slurm", "ray"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_word_runs_nothing(to: Cluster, text: str, tmp_path: Path) -> None:
    """The whole script, with the word everywhere where a user's word may stand but in `--setup`, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    given = tmp_path / "given"
    program = "import sys; open(sys.argv[1], 'wb').write('\\0'.join(sys.argv[2:]).encode())"
    job = replace(
        JOB, command=[sys.executable, "-I", "-c", program, str(given), text, f"--{text}", "end"], folder=folder
    )
    if to == "ray":
        job = replace(job, directory=Path(f"/runs/{text}"))
    script = script_of(job, to)
    environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "1", "HOME": str(tmp_path)}
    ended = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        capture_output=True,
        check=False,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert ended.returncode == 0, ended.stderr
    assert given.read_bytes() == "\0".join([text, f"--{text}", "end"]).encode()
    assert not list(folder.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"here", "given"}


@pytest.mark.parametrize("value", ["a\nb", "a\x1bb", "\u202e", "a\rb"])
def test_what_no_line_of_slurms_can_hold_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="holds a character"):
        directive("comment", value)
    with pytest.raises(UserError):
        script_of(replace(JOB, directory=Path(f"/runs/{value}")), "slurm")


def test_a_backslash_in_the_directory_is_refused() -> None:
    with pytest.raises(UserError, match="backslash"):
        script_of(replace(JOB, directory=Path("/runs/a\\b")), "slurm")


def test_lines_of_setup_stand_as_they_are() -> None:
    script = script_of(replace(JOB, setup=("module load cuda/12.4", 'export X="$HOME"')), "slurm")
    assert '\nmodule load cuda/12.4\nexport X="$HOME"\n' in script


@pytest.mark.parametrize(("seconds", "shown"), [(300, "00:05:00"), (86_399, "23:59:59"), (86_400, "1-00:00:00")])
def test_a_time_as_slurm_writes_it(seconds: int, shown: str) -> None:
    assert clock(seconds) == shown
