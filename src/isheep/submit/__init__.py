"""`isheep submit`: a run as a job of a cluster, in a script that a person can read.

The job is the run's own command, and the run directory is all the state there is: a job that is stopped, preempted or
lost with its machine is the same command again. Not covered: moving files; the directory, the model and the environment
lie where every node sees them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from shutil import which
from typing import Literal

from isheep.check import Finding, check
from isheep.errors import UserError, first_line
from isheep.recipe import Recipe
from isheep.store.files import write_atomic
from isheep.store.run import SCRIPT
from isheep.submit.resources import SHORTEST_S, Resources, resources_of, runs_on_ray, trains_on_nodes
from isheep.submit.script import Job, ray_script, slurm_script

Cluster = Literal["slurm", "ray"]

_TIME = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_OURS = {"nodes", "time", "partition", "account"}
_KEPT = {
    "job-name",
    "ntasks-per-node",
    "output",
    "error",
    "open-mode",
    "requeue",
    "no-requeue",
    "signal",
    "array",
    "wrap",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user says of the job; None: as the recipe needs it."""

    to: Cluster = "slurm"
    nodes: int | None = None
    gpus: int | None = None
    """On each node."""
    gpu: str | None = None
    """Of this kind."""
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    options: Sequence[str] = ()
    """Of sbatch, `KEY=VALUE` or `KEY`."""
    setup: Sequence[str] = ()
    address: str | None = None
    """Of the Ray cluster; None: where Ray itself looks for it."""


def prepare(
    recipe: Recipe, words: Sequence[str], directory: Path, wishes: Wishes, accept_changes: bool = False
) -> tuple[Job, list[Finding]]:
    """The job of a run, and what is worth a thought before it is handed over; writes nothing.

    Args:
        recipe: what `words` mean.
        words: of the command line: recipes, and settings.
        directory: of the run.
        wishes: what the user says of the job.
        accept_changes: go on with a run of other settings.

    Raises:
        UserError: what `check` finds, or a wish that cannot be.
    """
    found = check(recipe, directory, accept_changes, elsewhere=True)
    resources = _resources(recipe, wishes)
    accepting = ["--accept-changes"] if accept_changes else []
    whole = directory.absolute()
    # -P: a file of the user's folder is no module. After `--` no word is taken for an option.
    command = [sys.executable, "-P", "-m", "isheep", "run", "--dir", str(whole), *accepting, "--", *words]
    ray = wishes.to == "slurm" and resources.nodes > 1 and runs_on_ray(recipe)
    job = Job(command, whole, Path.cwd(), resources, _options(wishes), tuple(wishes.setup), ray)
    return job, [finding for finding in found if finding.warning]


def script_of(job: Job, to: Cluster) -> str:
    """What runs on the cluster. Raises UserError for what Slurm could not read."""
    return slurm_script(job) if to == "slurm" else ray_script(job)


def hand_over(job: Job, wishes: Wishes) -> str:
    """Writes the script into the run directory and has the cluster take it; the id of the job there.

    Raises:
        UserError: there is no such cluster here, it has a job of this run, or it refuses this one.
    """
    text = script_of(job, wishes.to)
    take = _to_slurm if wishes.to == "slurm" else _to_ray
    return take(job, text, wishes)


def _resources(recipe: Recipe, wishes: Wishes) -> Resources:
    needed = resources_of(recipe, wishes.gpu, wishes.gpus)
    if wishes.gpus is not None:
        needed = replace(needed, gpus=wishes.gpus)
    if wishes.to == "ray":
        return needed
    if wishes.nodes is not None:
        needed = replace(needed, nodes=wishes.nodes)
    if needed.nodes > 1 and not (runs_on_ray(recipe) or trains_on_nodes(recipe)):
        what = f"nothing of this recipe works on more than one machine, and {needed.nodes} would be paid for."
        raise UserError("--nodes", what, "Leave it out, or set `engine.workers` or `train.nodes`.")
    if wishes.time is not None:
        needed = replace(needed, seconds=_seconds(wishes.time))
    if needed.seconds is None:
        mend = "Give the kind of its GPUs, as in `--gpu h100`, or a time at a stretch, as in `--time 12:00:00`."
        raise UserError("--time", "is missing, and how long the run takes cannot be told.", mend)
    return needed


def _seconds(time: str) -> int:
    match = _TIME.fullmatch(time)
    if match is None:
        raise UserError("--time", f"`{time}` is no time.", "Write it like `12:00:00`, or `2-12:00:00` with days.")
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total < SHORTEST_S:
        what = f"`{time}` is too short for anything to be finished in it."
        raise UserError("--time", what, f"Give at least {SHORTEST_S // 60} minutes; an hour or more is better.")
    return total


def _options(wishes: Wishes) -> dict[str, str | None]:
    """Option of sbatch -> its value, those with an option of ours among them."""
    found: dict[str, str | None] = {}
    for word in wishes.options:
        key, equals, value = word.removeprefix("--").partition("=")
        if not _OPTION.fullmatch(key):
            what = f"`{word}` is no option of sbatch."
            raise UserError("--option", what, "Write it like `--option constraint=h100`, by its long name.")
        if key in _OURS | _KEPT:
            mend = f"Give it as --{key}." if key in _OURS else "Leave it out: the job's coming back rests on it."
            raise UserError("--option", f"`{key}` is said by isheep itself.", mend)
        found[key] = value if equals else None
    ours = {"partition": wishes.partition, "account": wishes.account}
    return found | {key: value for key, value in ours.items() if value is not None}


def _to_slurm(job: Job, text: str, wishes: Wishes) -> str:
    if which("sbatch") is None:
        mend = "Submit from a machine of the cluster; --dry-run prints the script anywhere."
        raise UserError("sbatch", "there is none on this machine.", mend)
    queued = _ask("squeue", "--noheader", "--me", f"--name={job.name}", "--format=%i (%T)").stdout.strip()
    if queued:
        what = f"job {queued.splitlines()[0]} is this run's, and two would be in each other's way."
        raise UserError(str(job.directory), what, "Wait for it, or end it with `scancel`.")
    taken = _ask("sbatch", "--parsable", str(_write(job, text)))
    if taken.returncode:
        said = taken.stderr.strip().removeprefix("sbatch: ").removeprefix("error: ")
        raise UserError("sbatch", f"refused the job: {said}.", "Change what it names (`isheep submit --help`).")
    return taken.stdout.strip().partition(";")[0]


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # Slurm's commands by their names and words of ours, no shell
        command, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL
    )


def _to_ray(job: Job, text: str, wishes: Wishes) -> str:
    if find_spec("ray") is None:
        what = "Ray is not installed in this environment."
        raise UserError("--to ray", what, "Install isheep[ray]; --dry-run prints the script without it.")
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    resources = job.resources
    try:
        client = JobSubmissionClient(wishes.address)
        known = {found.submission_id: found.status for found in client.list_jobs()}.get(job.name)
        if known is not None and not known.is_terminal():
            what = f"job {job.name} ({known}) is this run's, and two would be in each other's way."
            raise UserError(str(job.directory), what, "Wait for it, or end it with `ray job stop`.")
        if known is not None:
            client.delete_job(job.name)
        # An entrypoint goes through a shell; all of it that it sees of the user's is the directory.
        entrypoint = f"exec bash {quote(str(_write(job, text)))}"
        submitted: str = client.submit_job(
            entrypoint=entrypoint,
            submission_id=job.name,
            entrypoint_num_cpus=resources.cpus,
            entrypoint_num_gpus=resources.gpus or None,
            entrypoint_memory=resources.memory,
        )
        return submitted
    except (ConnectionError, RayError, RuntimeError, ValueError) as error:
        said = first_line(error).rstrip(".")
        mend = "Give its --address, and its token where it has one (RAY_AUTH_MODE=token and RAY_AUTH_TOKEN)."
        raise UserError("--to ray", f"the cluster did not take the job: {said}.", mend) from None


def _write(job: Job, text: str) -> Path:
    file = job.directory / SCRIPT
    write_atomic(file, text.encode("utf-8", "surrogateescape"))
    # Lines of --setup may hold what is nobody else's business.
    file.chmod(0o700)
    return file
