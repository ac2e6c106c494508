"""Code that lm-eval's task files can bring along: functions by name, templates, and metrics that are the hub's scripts.

Task files that ship with lm-eval or isheep are as trusted as the packages themselves. In others a function may be
anything that Python can import, `subprocess.Popen` too, so it needs the user's word, `evaluate.trust_tasks=true`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from isheep.errors import UserError

OWN_WORD = "evaluate.trust_tasks=true"


@contextmanager
def no_foreign_code(folder: Path | None, trusted: bool) -> Iterator[None]:
    """Within the block lm-eval loads task files without running what is neither its own nor ours.

    Args:
        folder: of the recipe's own task files, which may include one another and nothing else.
        trusted: whether the user lets their functions run; templates stay in their sandbox all the same.

    Raises:
        UserError: from within the block, where a file asks for more.
    """
    import lm_eval.api.task as tasks
    from lm_eval.tasks import _yaml_loader as loader

    _put_templates_into_a_sandbox()
    if trusted:
        yield
        return
    resolve, load, metric = loader._import_func_in_yml, loader.load_yaml, tasks.get_metric
    loader._import_func_in_yml = _own_functions(resolve)
    loader.load_yaml = _own_includes(load, folder)
    tasks.get_metric = _known_metrics(metric)
    try:
        yield
    finally:
        loader._import_func_in_yml, loader.load_yaml, tasks.get_metric = resolve, load, metric


def _own_functions(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(name: str, beside: Path) -> Any:
        if not _is_shipped(beside):
            what = f"a task file names the Python function `{name}`, which would run with all your rights."
            raise UserError(str(beside), what, f"Read it; if you trust it, say so on the command line: {OWN_WORD}.")
        return resolve(name, beside)

    return guarded


def _own_includes(load: Callable[..., Any], folder: Path | None) -> Callable[..., Any]:
    """Includes alone come this way: the first file of a task is read by another name of the same function."""

    def guarded(path: Path, *, _seen: set[Path] | None = None, **more: Any) -> Any:
        foreign = [file for file in _seen or () if not _is_shipped(file)]
        if foreign and not (folder and path.resolve().is_relative_to(folder.resolve())):
            what = f"includes {path}, which lies outside its folder."
            raise UserError(str(foreign[0]), what, f"Copy it into the folder, or give {OWN_WORD}.")
        return load(path, _seen=_seen, **more)

    return guarded


def _known_metrics(metric: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(name: str, hf_evaluate_metric: bool = False) -> Any:
        import lm_eval.api.metrics  # noqa: F401  # fills the registry
        from lm_eval.api.registry import metric_registry

        if hf_evaluate_metric or name not in metric_registry:
            what = f"the metric `{name}` is none of lm-eval's own: it would be fetched as a script, and run."
            raise UserError("evaluate.tasks", what, f"Name one of lm-eval's, or give {OWN_WORD}.")
        return metric(name, hf_evaluate_metric)

    return guarded


@cache
def _shipped() -> tuple[Path, ...]:
    """The folders of both packages, as they are told without importing them."""
    specs = (find_spec(name) for name in ("isheep", "lm_eval"))
    return tuple(Path(spec.origin).resolve().parent for spec in specs if spec is not None and spec.origin)


def _is_shipped(path: Path) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in _shipped())


@cache
def _put_templates_into_a_sandbox() -> None:
    """lm-eval renders a task's templates with all of Python in reach; for good, since it does so for every item."""
    import lm_eval.utils
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    walled = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    walled.filters |= lm_eval.utils.env.filters
    lm_eval.utils.env = walled
