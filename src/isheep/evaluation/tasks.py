"""Finding and loading lm-eval's tasks: names checked before anything is spent, local tasks without a network, quietly.

Importing this module does not import lm-eval; its functions do.
"""

from __future__ import annotations

import difflib
import logging
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from isheep.errors import UserError, first_line
from isheep.evaluation.local_data import data_from
from isheep.evaluation.task_code import no_foreign_code
from isheep.plugins import installed
from isheep.recipe import locate
from isheep.recipe.settings import OWN_BENCHMARKS, EvaluateSettings

_WHERE = "evaluate.benchmarks"

_LOCAL_DATA = (None, "json", "csv", "parquet", "text", "arrow")
"""What `dataset_path` says where a task brings its data along."""

OWN = Path(__file__).parent / "tasks_of_ours"
"""Tasks that lm-eval lacks, or whose metrics it would fetch from the hub."""

_LM_EVAL_SEEDS = (0, 1234)
"""What lm-eval seeds random and numpy with: some tasks shuffle their choices, and these are the published items."""


class Benchmarks:
    """The tasks and groups that some names mean, loaded."""

    def __init__(self, names: Sequence[str], settings: EvaluateSettings) -> None:
        """Loads them; their data may be downloaded, unless it lies in `data_dir` or beside the recipe's own tasks.

        Raises:
            UserError: an unknown name, data that does not load, a task that runs generated code, or task files that
                bring code of their own which nobody vouched for.
        """
        folder = locate(settings.tasks) if settings.tasks else None
        manager = _find(names, folder)
        entries = [manager.task_index[member] for name in names for member in _members(manager, name)]
        random.seed(_LM_EVAL_SEEDS[0])
        np.random.seed(_LM_EVAL_SEEDS[1])
        local = settings.data_dir is not None or (folder is not None and all(_is_local(one, folder) for one in entries))
        guard = no_foreign_code(folder, settings.trust_tasks)
        with quiet(), _offline(local), data_from(settings), guard:
            refuse_without_parts(names, local)
            self.loaded = _load(manager, names)
            refuse_without_parts(names, True)
        self.tasks: dict[str, Any] = self.loaded["tasks"]
        for name, task in self.tasks.items():
            if getattr(task, "UNSAFE_CODE", False):
                raise UserError(_WHERE, f"{name} runs generated code.", "Run it with a tool that isolates it.")
            if task.get_config("num_fewshot") is None:
                task.set_config("num_fewshot", 0)
            if (shots := task.get_config("num_fewshot")) and not len(task.fewshot_docs() or ()):
                what = f"{name} shows {shots} examples, and there is no data to take them from."
                raise UserError(_WHERE, what, "Put the split that holds them into evaluate.data_dir.")
            task.set_fewshot_seed(seed=_LM_EVAL_SEEDS[1])
            task.process_results = partial(_judged_alike, task.process_results)
        self._members = {name: _members(manager, name) for name in names}

    def parts(self, name: str) -> dict[str, list[str]]:
        """What figures a benchmark has: name -> the tasks whose items make it up (itself, or a group's or tag's)."""
        group = self.loaded.get("groups", {}).get(name)
        if group is not None:
            members = [task.task_name for task in group.get_all_tasks()]
            return {name: members} if group.has_aggregation else {member: [member] for member in members}
        return {member: [member] for member in self._members[name]}


def refuse_without_parts(names: Sequence[str], now: bool) -> None:
    """Raises UserError where IFEval is to be measured and lacks what it checks answers with.

    lm-eval itself finds out when all answers are written. `now`: nothing that is missing can be fetched any more.
    """
    if not any(name.startswith("ifeval") for name in names):
        return
    for module in ("langdetect", "immutabledict", "nltk"):
        if find_spec(module) is None:
            raise UserError(_WHERE, f"ifeval needs {module}, which is not installed.", "Install isheep[ifeval].")
    import langdetect
    import nltk.data

    # It guesses with chance, and where a text is in no language the guess decides; lm-eval leaves that open.
    langdetect.DetectorFactory.seed = 0
    if not now:
        return
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        mend = "Give its folder, tokenizers/punkt_tab, inside evaluate.data_dir, or in NLTK_DATA."
        raise UserError(_WHERE, "ifeval needs nltk's punkt_tab, which is not here.", mend) from None


def known_metrics(names: Sequence[str], folder: Path | None) -> tuple[dict[str, bool], bool]:
    """What the task files of some benchmarks say will be measured; no data is read.

    Returns:
        `TASK/METRIC`, as scores.json names them -> whether higher is better; and whether this is all: the metrics of
        groups, and of tasks that are written in Python, are not in their files.

    Raises:
        UserError: a name that is no task, group or tag.
    """
    manager = _find(names, folder)
    found: dict[str, bool] = {}
    complete = True
    for task in (member for name in names for member in _members(manager, name)):
        metrics, all_of_them = metrics_in(manager.task_index[task].cfg or {})
        found |= {f"{task}/{metric}": higher for metric, higher in metrics.items()}
        complete &= all_of_them
    return found, complete


def metrics_in(config: Mapping[str, Any]) -> tuple[dict[str, bool], bool]:
    """The same of the content of one task file: metric, with the filter behind it where there is one."""
    from lm_eval.api.registry import is_higher_better

    metrics = [] if "group" in config else config.get("metric_list", [])
    # A metric that is a function of the task's own has a name that only loading it tells.
    named = [one for one in metrics if str(one["metric"]).isidentifier()]
    filters = [one["name"] for one in config.get("filter_list") or [{"name": "none"}]]
    found = {}
    for one in named:
        # Asked only where the file does not say: of a metric that it does not know, the registry warns.
        higher = one["higher_is_better"] if "higher_is_better" in one else is_higher_better(one["metric"])
        for filter_ in filters:
            found[f"{one['metric']}{'' if filter_ == 'none' else f',{filter_}'}"] = higher is not False
    return found, bool(metrics) and len(named) == len(metrics)


@contextmanager
def quiet() -> Iterator[None]:
    """lm-eval's own log lines and bars do not show: ours do."""
    import lm_eval.api.task
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("lm_eval")
    level, had_bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    bars = lm_eval.api.task.tqdm
    lm_eval.api.task.tqdm = partial(bars, disable=True)
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = bars
        if had_bars:
            enable_progress_bars()


def _judged_alike(judge: Callable[..., Any], *item: Any) -> Any:
    """What a task makes of an item, whatever came before: IFEval draws by chance what an item of it leaves open."""
    state = random.getstate()
    random.seed(_LM_EVAL_SEEDS[0])
    try:
        return judge(*item)
    finally:
        random.setstate(state)


def _find(names: Sequence[str], folder: Path | None) -> Any:
    """A task manager that knows all the names; lm-eval's own ten thousand task files are read only where needed."""
    if folder is not None:
        if not folder.is_dir():
            raise UserError("evaluate.tasks", f"there is no folder {folder}.", "Give one with lm-eval task files.")
        own = _manager(folder, shipped=False)
        if {*names} <= {*own.all_subtasks, *own.all_tags}:
            return own
        _refuse_unreadable(folder)
    manager = _manager(folder, shipped=True)
    for name in names:
        if name not in manager.task_index:
            known = [*OWN_BENCHMARKS, *installed("benchmarks"), *manager.all_tasks]
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                _WHERE,
                f"there is no benchmark `{name}`.",
                f"Did you mean `{near[0]}`?" if near else "Give an lm-eval task, or set evaluate.tasks to your own.",
            )
    return manager


def _refuse_unreadable(folder: Path) -> None:
    """Raises UserError for a task file that lm-eval would pass over, as if it were not there."""
    for file in sorted(folder.rglob("*.yaml")):
        try:
            node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            what = f"does not read as YAML ({' '.join(str(error).split())})."
            raise UserError(str(file), what, "Mend the file, or take it away.") from None
        if not isinstance(node, yaml.MappingNode):
            raise UserError(str(file), "is no task of lm-eval.", "Mend the file, or take it away.")


@cache
def _manager(folder: Path | None, shipped: bool) -> Any:
    from lm_eval.tasks import TaskManager

    places = [*([str(OWN)] if shipped else []), *([str(folder)] if folder else [])]
    with quiet():
        return TaskManager(include_path=places, include_defaults=shipped)


def _members(manager: Any, name: str) -> list[str]:
    """The tasks of a tag; anything else stands for itself."""
    return sorted(manager.task_index[name].tags) if name in manager.all_tags else [name]


def _load(manager: Any, names: Sequence[str]) -> Any:
    try:
        return manager.load(list(names))
    except UserError:
        raise
    except Exception as error:
        mend = "Their data comes from the hub: see that it can be reached, or give it as files in evaluate.data_dir."
        raise UserError(_WHERE, f"{', '.join(names)} cannot be loaded ({first_line(error)}).", mend) from error


def _is_local(task: Any, folder: Path) -> bool:
    inside = task.yaml_path is not None and folder.resolve() in task.yaml_path.resolve().parents
    return inside and (task.cfg or {}).get("dataset_path") in _LOCAL_DATA


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """Within the block the hub is not asked for anything, whoever has read the environment before."""
    if not wanted:
        yield
        return
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    import datasets.config
    import huggingface_hub.constants

    places: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    saved = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, saved, strict=True):
            place.HF_HUB_OFFLINE = value
        for name, setting in before.items():
            if setting is None:
                del os.environ[name]
            else:
                os.environ[name] = setting
