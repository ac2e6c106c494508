"""`isheep doctor`: the environment, what is installed and what is missing for which feature, to paste into a report.

Nothing heavy is imported: versions come from the packages' metadata, GPUs from the driver's own program, and torch is
asked in a process of its own. No value of a key, of a proxy or of an address is told, and the home directory is `~`.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import InvalidRequirement, Requirement

from isheep.errors import UserError, first_line
from isheep.secrecy import without_secrets
from isheep.store.files import cache_folder

PACKAGE = "isheep"

FEATURES = {
    "fast": "novelty in a pool of many thousand instructions (numba)",
    "vllm": "engine=vllm, the fastest on GPUs",
    "ifeval": "the benchmark ifeval",
    "qlora": "train.method=qlora",
    "ray": "engine.workers, and submit --to ray",
    "deepspeed": "train.launch=deepspeed",
    "s3": "runs at s3:// URLs",
    "tensorboard": "train.track=[tensorboard]",
    "ui": "isheep ui, runs in a browser",
}
"""Extras of the package -> what they add."""

APART = {
    "wandb": "train.track=[wandb]",
    "mlflow": "train.track=[mlflow]",
    "trackio": "train.track=[trackio]",
    "nvidia-ml-py": "joules of NVIDIA's GPUs",
}
"""Packages that no extra brings -> what they add."""

PROGRAMS = {"sbatch": ("isheep submit", "a machine of a Slurm cluster")}
"""Programs that no package brings -> what they add, and where they are."""

SHOWN = (
    "CUDA_VISIBLE_DEVICES",
    "HF_DATASETS_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "ISHEEP_CACHE",
    "OMP_NUM_THREADS",
    "SLURM_JOB_ID",
    "TRANSFORMERS_OFFLINE",
    "XDG_CACHE_HOME",
)
"""Variables whose values matter and are no secrets."""
HIDDEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "OPENAI_API_KEY",
    "RAY_ADDRESS",
    "WANDB_API_KEY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""Variables of which it is told that they are set, and no more: keys, and addresses that may hold one."""

DASH = "\u2013"
"""Could not tell."""
WITHOUT_GPU = "built for processors alone"

_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Library:
    """A package that isheep needs, or that a feature does."""

    name: str
    version: str | None
    """None: not installed."""
    wanted: str
    """`>=2.9`, or nothing."""
    fits: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """What can be added."""

    name: str
    what: str
    ready: bool | None
    """None: could not tell."""
    add: str
    """The command that adds it, or what is wrong; empty where it is there."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """As its driver names it."""

    name: str
    memory: str
    driver: str


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found; None: could not tell."""

    system: dict[str, str | None]
    gpus: list[Gpu] | None
    libraries: list[Library]
    features: list[Feature]
    variables: dict[str, str]
    wrong: list[str]
    """What cannot work together, in words."""


def examine() -> Examination:
    """Looks at this machine and at the Python that runs; takes a second, and some more where there is a GPU."""
    gpus = _gpus()
    libraries = sorted(_libraries(PACKAGE, ""), key=lambda one: one.name)
    features = [*_extras(), *_apart(), *_programs(), _sandbox()]
    torch = _torch(gpus)
    system = {**_system(), "torch": torch, **_disks()}
    wrong = [_unfit(one) for one in libraries if not one.fits]
    if gpus and torch == WITHOUT_GPU:
        wrong.append("there is a GPU, and torch is built for processors alone: install the build for it")
    return Examination(system, gpus, libraries, features, _variables(), wrong)


def as_document(found: Examination) -> dict[str, Any]:
    """As `--json` prints it."""
    return asdict(found)


def as_text(found: Examination) -> str:
    """Plain text that is Markdown, too."""
    return "\n".join(_lines(found))


def _lines(found: Examination) -> Iterator[str]:
    yield "### isheep doctor"
    yield ""
    yield from (f"- {name}: {value or DASH}" for name, value in found.system.items())
    if found.gpus is None:
        yield f"- GPUs: {DASH} (nvidia-smi tells of none)"
    for gpu in found.gpus or []:
        yield f"- GPU: {gpu.name}, {gpu.memory}, driver {gpu.driver}"
    yield from ["", "Libraries:", ""]
    yield from (
        f"- {one.name} {one.version or DASH}{'' if one.fits else f'  (wanted: {one.wanted})'}"
        for one in found.libraries
    )
    yield from ["", "Features:", ""]
    for one in found.features:
        mark = {True: "[x]", False: "[ ]", None: "[?]"}[one.ready]
        yield f"- {mark} {one.name}: {one.what}{f'; {one.add}' if one.add else ''}"
    yield from ["", "Environment:", ""]
    yield from (f"- {name}: {value}" for name, value in found.variables.items())
    yield ""
    yield from [f"! {one}" for one in found.wrong] or ["Nothing found that cannot work together."]


def _system() -> dict[str, str | None]:
    memory = psutil.virtual_memory()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else DASH
    return {
        "isheep": f"{_version(PACKAGE) or DASH} in {_shown(str(Path(__file__).parent))}",
        "Python": f"{platform.python_version()} in {_shown(sys.prefix)}",
        "system": platform.platform(),
        "processor": f"{os.cpu_count() or DASH} cores, {usable} of them for this process, {platform.machine()}",
        "memory": f"{_size(memory.total)}, {_size(memory.available)} of it free",
    }


def _disks() -> dict[str, str | None]:
    from huggingface_hub import constants

    places = {"this folder": Path.cwd(), "hub's cache": Path(constants.HF_HUB_CACHE), "isheep's cache": cache_folder()}
    return {name: f"{_shown(str(place))}, {_free(place)} free" for name, place in places.items()}


def _free(place: Path) -> str:
    for folder in (place, *place.parents):
        with suppress(OSError):
            return _size(shutil.disk_usage(folder).free)
    return DASH


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _gpus() -> list[Gpu] | None:
    """By NVIDIA's own program; None where there is none, or it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    told = _told(asked)
    return None if told is None else [Gpu(*row) for line in told.splitlines() if len(row := line.split(", ")) == 3]


def _torch(gpus: list[Gpu] | None) -> str | None:
    """What torch was built for, as its own file says, and where there are GPUs, how many it can use."""
    spec = find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    build = Path(spec.submodule_search_locations[0]) / "version.py"
    with suppress(OSError):
        text = build.read_text(encoding="utf-8")
        kinds = dict(re.findall(r"^(cuda|hip)\b.*= '([^']+)'$", text, re.MULTILINE))
        if not kinds:
            return WITHOUT_GPU
        said = ", ".join(f"{kind} {version}" for kind, version in kinds.items())
        if not gpus:
            return f"built for {said}"
        seen = _told([sys.executable, "-c", "import torch; print(torch.cuda.device_count())"])
        return f"built for {said}, GPUs in sight: {seen.strip() if seen else DASH}"
    return None


def _told(command: Sequence[str]) -> str | None:
    """What a program prints; None where it fails, hangs or crashes, which is its own affair."""
    try:
        ended = subprocess.run(  # noqa: S603  # this interpreter, or the driver's program, no shell
            command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _libraries(package: str, extra: str) -> Iterator[Library]:
    """What a package requires by itself, or for one of its extras, extras of these among them."""
    try:
        lines = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        try:
            found = Requirement(line)
        except InvalidRequirement:
            continue
        by_extra = found.marker is not None and "extra" in str(found.marker)
        if by_extra != bool(extra) or (found.marker and not found.marker.evaluate({"extra": extra})):
            continue
        version = _version(found.name)
        fits = version is not None and found.specifier.contains(version, prereleases=True)
        yield Library(found.name, version, str(found.specifier), fits)
        for inner in found.extras if extra else ():
            yield from _libraries(found.name, inner)


def _unfit(one: Library) -> str:
    found = f"{one.version} is installed" if one.version else "is not installed"
    return f"{one.name}: {found}, and isheep needs {one.wanted or 'it'}: pip install '{one.name}{one.wanted}'"


def _extras() -> Iterator[Feature]:
    offered = metadata.metadata(PACKAGE).get_all("Provides-Extra") or [] if _version(PACKAGE) else []
    for extra, what in FEATURES.items():
        if extra not in offered:
            yield Feature(extra, what, None, "isheep is not installed, or an older one is: pip install it again")
            continue
        wanted = list(_libraries(PACKAGE, extra))
        ready = all(one.fits for one in wanted)
        missing = "" if ready else f"pip install '{PACKAGE}[{extra}]'"
        yield Feature(extra, what, ready, missing)


def _apart() -> Iterator[Feature]:
    for name, what in APART.items():
        there = _version(name) is not None
        yield Feature(name, what, there, "" if there else f"pip install {name}")


def _programs() -> Iterator[Feature]:
    for name, (what, where) in PROGRAMS.items():
        there = shutil.which(name) is not None
        yield Feature(name, what, there, "" if there else f"wants {where}")


def _sandbox() -> Feature:
    """Whether the walls can be put up in which generated code runs."""
    from isheep.evaluation.sandbox import refuse_without

    name, what = "sandbox", "walls around generated code (humaneval, mbpp)"
    try:
        refuse_without()
    except UserError as error:
        return Feature(name, what, False, f"{_shown(first_line(error))}")
    except OSError as error:
        return Feature(name, what, None, _shown(first_line(error)))
    return Feature(name, what, True, "")


def _variables() -> dict[str, str]:
    from huggingface_hub import constants

    found = {name: _shown(os.environ[name]) or "(empty)" for name in SHOWN if name in os.environ}
    for name in HIDDEN:
        if any(os.environ.get(spelt) for spelt in (name, name.upper())):
            found[name] = "set"
    found["login to the hub"] = "yes" if Path(constants.HF_TOKEN_PATH).is_file() or "HF_TOKEN" in found else "no"
    return found


def _shown(text: str) -> str:
    """On one line, the home directory as `~`, and no key of the environment in it."""
    home = str(Path.home())
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    return without_secrets(" ".join(text.split()))
