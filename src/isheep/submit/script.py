"""The script of a job: what a template prints of words that come from outside is one word to the shell, and no more."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from isheep.errors import UserError
from isheep.store.run import LOG
from isheep.submit.resources import Resources
from isheep.terminal import printable

NOTICE_S = 300
"""Seconds before its end at which a job is told of it: as long as what is in flight may take to be written."""

SAYS_TOO = {
    "mem-per-cpu": "mem",
    "mem-per-gpu": "mem",
    "gpus": "gres",
    "gpus-per-node": "gres",
    "gpus-per-task": "gres",
}
"""Option of sbatch -> ours, which it says in another way, and beside which it is refused."""

_BARE = re.compile(r"[\w./:=,@+%\[\]*|&-]+", re.ASCII)


class Shell(str):
    """Text that is shell already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A run as a job of a cluster."""

    command: list[str]
    """What goes on with the run, too, when it is given again."""
    directory: Path
    """Of the run, absolute."""
    folder: Path
    """Where the command was given, by which it means the paths in it."""
    resources: Resources
    options: dict[str, str | None] = field(default_factory=dict)
    """Options of sbatch, which count more than what the resources say; None: it takes no value."""
    setup: tuple[str, ...] = ()
    """Lines of the user's own that come before the command."""
    ray: bool = False
    """Whether a Ray cluster is started on the nodes first."""

    @property
    def name(self) -> str:
        """The same for the same directory, and for no other."""
        readable = re.sub(r"[^\w.-]+", "-", self.directory.name, flags=re.ASCII).strip("-")[:40]
        tag = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:6]
        return "-".join(filter(None, ("isheep", readable, tag)))

    @property
    def notice(self) -> int:
        """Seconds before its end at which the job is told of it."""
        return min(NOTICE_S, (self.resources.seconds or NOTICE_S) // 5)


def slurm_script(job: Job) -> str:
    """For sbatch. Raises UserError for what Slurm could not read."""
    log = str(job.directory / LOG).replace("%", "%%")
    if "\\" in log:
        # In a file's name Slurm takes it for a mark of its own, and lets no way to write one.
        raise UserError(str(job.directory), "has a backslash in it, which Slurm takes away.", "Give another --dir.")
    said = {SAYS_TOO.get(key) for key in job.options}
    asked = {key: value for key, value in _asked(job, log).items() if key not in said}
    directives = [directive(key, value) for key, value in (asked | job.options).items()]
    return _render("slurm.sh.jinja", job, directives=directives)


def ray_script(job: Job) -> str:
    """For a job of a Ray cluster that runs already."""
    return _render("ray.sh.jinja", job)


def directive(key: str, value: str | None) -> str:
    """`--key="value"` as sbatch reads it in a `#SBATCH` line; raises UserError for a value that no line can hold."""
    if value is None:
        return f"--{key}"
    if printable(value) != value or "\n" in value:
        raise UserError(f"--{key}", f"`{value}` holds a character that Slurm cannot read.", "Take it out.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f"--{key}={value}" if _BARE.fullmatch(value) else f'--{key}="{escaped}"'


def quoted(text: str) -> Shell:
    r"""The text as one word of bash, in one line; what a terminal would act on stands as `\x1b`."""
    if printable(text) == text and not set(text) & {"\n", "\t"}:
        return Shell(quote(text))
    plain = {byte: chr(byte) for byte in range(0x20, 0x7F) if byte not in b"\\'"}
    return Shell("$'" + "".join(plain.get(byte, f"\\x{byte:02x}") for byte in os.fsencode(text)) + "'")


def clock(seconds: int) -> str:
    """As Slurm writes it: `1-02:03:04`, or `02:03:04`."""
    days, rest = divmod(seconds, 86_400)
    time = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{time}" if days else time


def _asked(job: Job, log: str) -> dict[str, str | None]:
    """Option of sbatch -> its value; a `%` in the log's path is doubled, since Slurm fills names in there."""
    resources = job.resources
    asked: dict[str, str | None] = {"job-name": job.name, "nodes": str(resources.nodes), "ntasks-per-node": "1"}
    if resources.gpus:
        asked["gres"] = f"gpu:{resources.gpus}"
    asked |= {"cpus-per-task": str(resources.cpus), "mem": f"{-(-resources.memory // 2**20)}M"}
    if resources.seconds is not None:
        asked["time"] = clock(resources.seconds)
    return asked | {
        "output": log,
        "open-mode": "append",
        "requeue": None,
        "signal": f"B:TERM@{job.notice}",
    }


def _render(name: str, job: Job, **more: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  # a shell's script and no page: `finalize` quotes what it prints
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"words": _words, "shell": Shell, "comment": _comment}
    return environment.get_template(name).render(job=job, python=sys.executable, **more)


def _finalize(value: Any) -> Any:
    return quoted(value) if isinstance(value, str) and not isinstance(value, Shell) else value


def _words(texts: Iterable[str]) -> Shell:
    return Shell(" ".join(quoted(text) for text in texts))


def _comment(value: object) -> Shell:
    """In a line behind `#`."""
    return Shell(printable(str(value)).replace("\n", " "))
