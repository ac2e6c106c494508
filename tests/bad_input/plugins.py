"""Plug-ins that are not there, that are broken, or whose settings are wrong."""

from __future__ import annotations

import sys

from isheep.plugins import installed
from tests.bad_input.case import Case, Lay, Place

SETTINGS = """
from pydantic import BaseModel, Field
class Odd:
    class Settings(BaseModel, extra="forbid"):
        limit: float = Field(1, gt=0)
    def __init__(self, settings): ...
    def verdicts(self, records): ...
"""


def package(name: str, code: str) -> Lay:
    """A distribution with a filter `odd`, on the path for as long as the case lasts."""

    def lay(place: Place) -> None:
        place.path(f"{name}/{name}-1.0.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        entry = f"[isheep.filters]\nodd = {name}_code:Odd\n"
        place.path(f"{name}/{name}-1.0.dist-info/entry_points.txt").write_text(entry)
        place.path(f"{name}/{name}_code.py").write_text(code)
        folder = str(place.folder / name)
        sys.path.insert(0, folder)
        writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        installed.cache_clear()

        def undo() -> None:
            sys.path.remove(folder)
            sys.dont_write_bytecode = writes
            sys.modules.pop(f"{name}_code", None)
            installed.cache_clear()

        place.stack.callback(undo)

    return lay


def on_lamb(name: str, input_: str, settings: str, says: str, *lay: Lay) -> Case:
    return Case(name, input_, f"run lamb {settings} --dir DIR/run", says, lay)


ODD = "'select.filters=[odd, cap]'"

CASES = [
    on_lamb(
        "plugin-engine-unknown",
        "an engine that there is not",
        "engine=vlm",
        "recipe lamb, engine.name: there is no engine `vlm`, of ours or of an installed package. Did you mean `vllm`?",
    ),
    on_lamb(
        "plugin-assessor-unknown",
        "an assessor of a package that is not installed",
        "assess.assessor=plugin:mine",
        ("recipe lamb, assess.assessor: there is no assessor `plugin:mine`, of ours or of an installed package. …"),
    ),
    on_lamb(
        "plugin-no-settings",
        "something else than settings of plug-ins",
        "plugins=3",
        (
            "recipe lamb, plugins: holds something else than settings under the names of plug-ins. Give each its own, "
            "as in `plugins.my-filter.limit=3`."
        ),
    ),
    on_lamb(
        "plugin-unused",
        "settings of a plug-in that nothing names",
        "plugins.odd.limit=3",
        (
            "plugins.odd: are settings of a plug-in that nothing in the recipe names. Name it where it has to work, or "
            "take its settings out."
        ),
    ),
    on_lamb(
        "plugin-setting-unknown",
        "a misspelt setting of a plug-in",
        f"{ODD} plugins.odd.limti=3",
        "plugins.odd.limti: unknown setting. Did you mean `limit`?",
        package("others", SETTINGS),
    ),
    on_lamb(
        "plugin-setting-wrong",
        "a setting that a plug-in does not take",
        f"{ODD} plugins.odd.limit=0",
        "plugins.odd.limit: cannot be 0. Give a number greater than 0.",
        package("others", SETTINGS),
    ),
    on_lamb(
        "plugin-broken",
        "a plug-in that does not import",
        ODD,
        (
            "the filter `odd` of others 1.0: cannot be imported (ModuleNotFoundError: No module named 'nowhere'). Mend "
            "or update others, or take `odd` out of the recipe."
        ),
        package("others", "import nowhere"),
    ),
    on_lamb(
        "plugin-unfit",
        "a filter that has no verdicts",
        ODD,
        "the filter `odd` of others 1.0: has no method `verdicts`. See docs/plugins.md for what one has to have.",
        package("others", "class Odd: ..."),
    ),
    on_lamb(
        "plugin-twice",
        "a name that two packages bring",
        ODD,
        ("isheep.filters: `odd` is brought by more 1.0 and others 1.0. Uninstall all of these but one."),
        package("others", SETTINGS),
        package("more", SETTINGS),
    ),
]
