"""Plug-ins: the example package at work in a run, and what is said of those that do not do as they should."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import isheep
from isheep import Run, plugins
from isheep.check import check
from isheep.encoder import Encoder
from isheep.engines import Engine, Request, open_engine
from isheep.errors import StageError, UserError
from isheep.evaluation.base import Benchmark
from isheep.evaluation.registry import METRICS_OF_OURS, open_benchmark
from isheep.filters import Drop
from isheep.filters.plugged import plugged
from isheep.models import Models
from isheep.plugins import METHODS, Assessor, Filter, installed
from isheep.recipe import Recipe, load_recipe
from isheep.recipe.plugged import opened, origins
from isheep.recipe.settings import OWN_BENCHMARKS
from isheep.records import AssessedPair, Assessment, Pair
from isheep.stages.plugged import plugged_assessor
from isheep.store.plan import STAGES, changed, setting_inputs

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "isheep-plugin"
SMALL = ("lamb", "iterations=1", "size=40", "train.steps=4", "train.warmup_steps=1", "evaluate.tasks=null")
NAMED = (
    "select.filters=[repeats, threshold, cap]", "plugins.repeats.most=1", "select.threshold=2",
    "assess.assessor=plugin:brief", "engine=cooler", "evaluate.benchmarks=[ends]",
)  # fmt: skip

Package = Callable[..., None]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What is installed for one test is not there for the next."""
    installed.cache_clear()
    yield
    installed.cache_clear()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Puts a distribution of one module on the path, as installing it does."""

    def install(code: str, version: str = "1.0", name: str = "other", **entries: str) -> None:
        site = tmp_path / f"{name}-{version}"
        about = site / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"[isheep.{kind}]\n{named} = {name}_module:{named.title()}\n" for kind, named in entries.items()]
        (about / "entry_points.txt").write_text("\n".join(lines))
        (site / f"{name}_module.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)
        installed.cache_clear()

    return install


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example package is installed, by pip and without a network."""
    source, target = tmp_path_factory.mktemp("example") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)
    words = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *words, "--target", str(target), str(source)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return target


def command(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(site), str(Path(isheep.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
    return subprocess.run(
        [sys.executable, "-m", "isheep", *words], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="module")
def plugged_run(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which the example's four plug-ins work."""
    directory = tmp_path_factory.mktemp("runs") / "plugged"
    ended = command(site, "run", *SMALL, *NAMED, "--dir", str(directory))
    assert ended.returncode == 0, ended.stderr
    return directory


def most_often(response: str) -> int:
    """How often the response says the sentence that it says most often."""
    sentences = [one.strip().lower() for one in re.split(r"[.!?\n]", response)]
    return max(Counter(one for one in sentences if one).values(), default=0)


def test_the_filter_drops_what_it_says_and_nothing_else(plugged_run: Path) -> None:
    rows = Run.read(plugged_run).records().to_pylist()
    judged = [row for row in rows if row["quality"] is not None]
    repeating = {row["id"]: most_often(row["response"]) for row in judged if most_often(row["response"]) > 1}
    dropped = {row["id"]: row for row in rows if row["dropped_by"] == "repeats"}
    assert dropped.keys() == repeating.keys()
    assert dropped
    for id_, times in repeating.items():
        assert dropped[id_]["reason"].startswith(f"says one sentence {times} times")
    assert {row["dropped_by"] for row in judged} - {"repeats", "threshold", "cap", None} == set()


def test_the_assessor_gives_the_scores(plugged_run: Path) -> None:
    rows = [row for row in Run.read(plugged_run).records().to_pylist() if row["assessor"] is not None]
    assert len(rows) > 10
    for row in rows:
        score = max(1.0, 11.0 - len(row["response"].split()))
        assert (row["assessor"], row["quality"], row["following"]) == ("plugin:brief", score, score)


def test_the_benchmark_is_measured_by_a_protocol_of_its_version(plugged_run: Path) -> None:
    scores = Run.read(plugged_run).scores()
    told = [(row["iteration"], row["benchmark"], row["metric"], row["n"]) for row in scores]
    assert told == [(0, "ends", "ended", 3), (1, "ends", "ended", 3)]
    protocol = json.loads((plugged_run / "iteration-00/evaluation/protocol.json").read_text())
    assert protocol["ends"] == {
        "items": 3, "tokens": 40, "library": "isheep-example", "version": "0.1.0", "settings": {},
    }  # fmt: skip


def test_the_manifest_names_every_plug_in_with_its_version(plugged_run: Path) -> None:
    versions = json.loads((plugged_run / "manifest.json").read_text())["versions"]
    names = ("filters/repeats", "engines/cooler", "assessors/brief", "benchmarks/ends")
    assert {name: versions.get(name) for name in names} == dict.fromkeys(names, "isheep-example 0.1.0")


def test_a_run_is_looked_at_where_its_plug_ins_are_not_installed(plugged_run: Path) -> None:
    assert not installed("filters").get("repeats")
    found = Run.read(plugged_run)
    assert found.state() == "finished"
    assert found.recipe.plugins == {"repeats": {"most": 1}}
    assert found.status()["iterations"][1]["selection"]["dropped"]["repeats"] > 0


def test_another_version_redoes_what_it_touches_once_that_is_accepted(
    plugged_run: Path, site: Path, tmp_path: Path
) -> None:
    directory, newer = tmp_path / "run", tmp_path / "site"
    shutil.copytree(plugged_run, directory)
    shutil.copytree(site, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "isheep_example-0.1.0.dist-info").rename(newer / "isheep_example-0.2.0.dist-info")
    about = newer / "isheep_example-0.2.0.dist-info" / "METADATA"
    about.write_text(about.read_text().replace("Version: 0.1.0", "Version: 0.2.0"))
    refused = command(newer, "run", *SMALL, *NAMED, "--dir", str(directory))
    assert refused.returncode == 2
    assert "plugins.benchmarks.ends" in refused.stderr
    assert "Traceback" not in refused.stderr
    accepted = command(newer, "run", *SMALL, *NAMED, "--dir", str(directory), "--accept-changes")
    assert accepted.returncode == 0, accepted.stderr
    aside = sorted(path.name for path in (directory / "replaced-1" / "iteration-01").iterdir())
    assert {"assessments", "selection", "adapter"} <= set(aside)
    assert not {"instructions", "responses"} & set(aside)
    versions = json.loads((directory / "manifest.json").read_text())["commands"][-1]["versions"]
    assert versions["filters/repeats"] == "isheep-example 0.2.0"


FILTER = """
class Odd:
    def verdicts(self, records):
        {body}
"""

PAIRS = [Pair(f"id-{place}", "Say it.", "", text) for place, text in enumerate(("one", "two", "three"))]
RECORDS = [AssessedPair(pair, Assessment(pair.id, 8.0, 8.0, "8", "8", "base")) for pair in PAIRS]


def named(**settings: Any) -> Recipe:
    return Recipe.load("lamb", **settings)


def verdicts() -> list[Drop | None]:
    return list(plugged("odd", lambda: RECORDS, named(select={"filters": ["odd"]})))


def test_a_filter_may_judge_one_by_one_or_all_at_once(package: Package) -> None:
    package(
        FILTER.format(body="yield from (None if 'e' in r.pair.response else 'no e' for r in records)"), filters="odd"
    )
    assert verdicts() == [None, Drop("odd", "no e"), None]
    package(FILTER.format(body="return ['one too many'] * len(list(records))"), "2.0", filters="odd")
    assert verdicts() == [Drop("odd", "one too many")] * 3


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("raise ValueError('broken\\nin two')", "failed (ValueError: broken)."),
        ("yield None; raise ValueError('broken')", "failed (ValueError: broken)."),
        ("return 3", "failed (TypeError: "),
        ("yield 3", "said int of the pair id-0, where None keeps and a reason drops."),
        ("yield True", "said bool of the pair id-0,"),
        ("yield ' '", "said an empty text of the pair id-0,"),
        ("yield None", "said nothing of the pair id-1, nor of any after it."),
        ("yield from [None] * 4", "said more than there are pairs."),
    ],
)
def test_a_filter_that_fails_or_says_rubbish_is_named(package: Package, body: str, what: str) -> None:
    package(FILTER.format(body=body), filters="odd")
    with pytest.raises(StageError) as caught:
        verdicts()
    assert str(caught.value).startswith(f"the filter `odd` of other 1.0 {what}")


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return [1, 2]", "gave 2 scores of quality for 3 pairs."),
        ("return [1, 11, 2]", "gave no score from 1 to 10, nor None, for the quality of id-1."),
        ("return [True, 1, 1]", "gave no score from 1 to 10, nor None, for the quality of id-0."),
        ("return ['8', 1, 1]", "gave no score"),
        ("return [float('nan'), 1, 1]", "gave no score"),
        ("return 1 / 0", "failed (ZeroDivisionError: division by zero)."),
    ],
)
def test_an_assessor_that_fails_or_gives_rubbish_is_named(package: Package, body: str, what: str) -> None:
    package(f"class Odd:\n    def scores(self, pairs, question):\n        {body}\n", assessors="odd")
    read = plugged_assessor(named(assess={"assessor": "plugin:odd"}))
    assert read is not None
    with pytest.raises(StageError) as caught:
        read(PAIRS, "quality")
    assert str(caught.value).startswith(f"the assessor `odd` of other 1.0 {what}")


def test_what_an_assessor_cannot_tell_is_none(package: Package) -> None:
    package("class Odd:\n    def scores(self, pairs, question):\n        return (None, 1, 9.5)\n", assessors="odd")
    read = plugged_assessor(named(assess={"assessor": "plugin:odd"}))
    assert read is not None
    assert [(one.score, one.raw) for one in read(PAIRS, "following")] == [
        (None, "plugin:odd"), (1.0, "plugin:odd"), (9.5, "plugin:odd"),
    ]  # fmt: skip


ENGINE = """
from isheep.engines import Completion

class Odd:
    def __init__(self, folder, dtype, engine, encoder):
        assert (folder / "config.json").is_file() and dtype == "float32" and engine.name == "odd"
    def generate(self, requests):
        {body}
    def score_next(self, prompts, candidates):
        return [[0.5] * len(candidates)] * len(prompts)
    def score_sequences(self, sequences):
        return [[-1.0]] * len(sequences)
    def embed(self, sequences):
        return [[1.0] * (1 + place) for place, _ in enumerate(sequences)]
    def use(self, adapter): pass
    def close(self): pass
"""


def odd_engine(encoder: Encoder) -> Engine:
    return open_engine(named(engine="odd"), encoder)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("yield Completion('other', (), 'stop')", "answered 'other', which it was not asked"),
        ("a = next(requests); c = Completion(a.id, (), 'stop'); yield c; yield c", "answered 'a', which it was not"),
        ("yield Completion(next(requests).id, (1,) * 9, 'stop')", "answered 'a' with more tokens than it may"),
        ("yield Completion(next(requests).id, (), 'tired')", "answered 'a' with more tokens than it may, or ended"),
        ("list(requests); yield from ()", "left 2 requests without an answer."),
        ("raise OSError('gone')", "failed (OSError: gone)."),
    ],
)
def test_an_engine_that_fails_or_answers_oddly_is_named(
    package: Package, encoder: Encoder, body: str, what: str
) -> None:
    package(ENGINE.format(body=body), engines="odd")
    asked = [Request(id_, (1, 2), 4, frozenset({0})) for id_ in "ab"]
    with pytest.raises(StageError) as caught:
        list(odd_engine(encoder).generate(iter(asked)))
    assert str(caught.value).startswith(f"the engine `odd` of other 1.0 {what}")


def test_an_engines_figures_are_looked_at(package: Package, encoder: Encoder) -> None:
    package(ENGINE.format(body="yield from ()"), engines="odd")
    with odd_engine(encoder) as engine:
        assert engine.workers == 1
        assert engine.positions is None
        assert engine.score_sequences([(1, 2)]) == [[-1.0]]
        with pytest.raises(StageError, match=r"log-probabilities of other lengths"):
            engine.score_sequences([(1, 2, 3)])
        with pytest.raises(StageError, match=r"log-probabilities greater than 0"):
            engine.score_next([(1,)], [(2,)])
        with pytest.raises(StageError, match=r"vectors of other lengths"):
            engine.embed([(1,), (2,)])


BENCHMARK = """
from isheep.evaluation.base import Measured

class Odd:
    def __init__(self, evaluate): self.limit = evaluate.limit
    def prepare(self): pass
    def protocol(self): return {protocol}
    def texts(self): return [3]
    def measure(self, model, seed): return {measured}
"""


@pytest.mark.parametrize(
    ("protocol", "measured", "what"),
    [
        ("{}", "None", "does not say in its protocol how many `items` it asks."),
        ("{'items': 1, 'x': {1, 2}}", "None", "failed (TypeError: "),
        ("{'items': 1}", "None", "measured nothing under its own name `odd`."),
        ("{'items': 1}", "Measured({'even': {}}, {})", "measured nothing under its own name `odd`."),
        (
            "{'items': 1}",
            "Measured({'odd': {'x': {'value': 1}}}, {})",
            "gave no figure with high, low, n, value for x.",
        ),
    ],
)
def test_a_benchmark_that_measures_rubbish_is_named(
    package: Package, encoder: Encoder, protocol: str, measured: str, what: str
) -> None:
    package(BENCHMARK.format(protocol=protocol, measured=measured), benchmarks="odd")
    recipe = named(evaluate={"benchmarks": ["odd"], "tasks": None})
    benchmark = open_benchmark("odd", recipe)
    benchmark.prepare()
    assert benchmark.formulaic is False
    with Models(recipe, encoder) as models, pytest.raises(StageError) as caught:
        benchmark.measure(models.base, benchmark.protocol()["items"])
    assert str(caught.value).startswith(f"the benchmark `odd` of other 1.0 {what}")
    with pytest.raises(StageError, match="asks something that is no text"):
        benchmark.texts()


def test_nothing_is_imported_of_a_plug_in_that_the_recipe_does_not_name(package: Package) -> None:
    package("raise RuntimeError('imported')", filters="odd", engines="odd", assessors="odd", benchmarks="odd")
    check(load_recipe("lamb"))
    assert "other_module" not in sys.modules
    with pytest.raises(UserError) as caught:
        check(load_recipe("lamb", ["select.filters=[odd, cap]"]))
    assert str(caught.value) == (
        "the filter `odd` of other 1.0: cannot be imported (RuntimeError: imported). Mend or update other, or take "
        "`odd` out of the recipe."
    )


@pytest.mark.parametrize(
    ("code", "settings", "message"),
    [
        ("Odd = 3", [], "the filter `odd` of other 1.0: is no class (other_module:Odd)."),
        ("class Odd: pass", [], "the filter `odd` of other 1.0: has no method `verdicts`."),
        ("import sys; sys.exit()", [], "the filter `odd` of other 1.0: cannot be imported (SystemExit: "),
        ("def Odd(): return 3", [], None),
        (FILTER.format(body="pass") + "    Settings = dict", [], "the filter `odd` of other 1.0: has `Settings` that"),
        (FILTER.format(body="pass"), ["plugins.odd.x=1"], "plugins.odd: is set, but the filter `odd` of other 1.0 tak"),
        (FILTER.format(body="pass"), ["plugins.od.x=1"], "plugins.od: are settings of a plug-in that nothing in the "),
    ],
)
def test_a_plug_in_that_is_none_is_refused_before_anything_is_spent(
    package: Package, code: str, settings: list[str], message: str | None
) -> None:
    package(code, filters="odd")
    recipe = load_recipe("lamb", ["select.filters=[odd, cap]", *settings])
    with pytest.raises(UserError) as caught:
        # What a function makes is known when it has made it.
        check(recipe) if message else opened("filters", "odd", recipe)
    assert str(caught.value).startswith(message or "the filter `odd` of other 1.0: has no method `verdicts`.")


def test_the_settings_of_a_plug_in_are_its_own_models(package: Package) -> None:
    code = """
from pydantic import BaseModel, Field
class Odd:
    class Settings(BaseModel, extra="forbid"):
        limit: float = Field(gt=0)
        words: list[str] = []
    def __init__(self, settings): self.settings = settings
    def verdicts(self, records): return []
"""
    package(code, filters="odd")
    odd = ["select.filters=[odd, cap]"]
    _, made = opened("filters", "odd", load_recipe("lamb", [*odd, "plugins.odd.limit=3", "plugins.odd.words=[a]"]))
    assert (made.settings.limit, made.settings.words) == (3.0, ["a"])
    for words, message in (
        ([], "plugins.odd.limit: is missing. Give it, as in `limit=...`."),
        (["plugins.odd.limit=0"], "plugins.odd.limit: cannot be 0. Give a number greater than 0."),
        (["plugins.odd.limit=1", "plugins.odd.wrods=[]"], "plugins.odd.wrods: unknown setting. Did you mean `words`?"),
    ):
        with pytest.raises(UserError) as caught:
            check(load_recipe("lamb", [*odd, *words]))
        assert str(caught.value) == message


def test_two_packages_of_one_name_are_refused(package: Package) -> None:
    package(FILTER.format(body="pass"), filters="odd")
    package(FILTER.format(body="pass"), name="another", filters="odd")
    with pytest.raises(UserError) as caught:
        check(load_recipe("lamb", ["select.filters=[odd]"]))
    assert str(caught.value).startswith("isheep.filters: `odd` is brought by another 1.0 and other 1.0.")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("select.filters=[capp]", "recipe lamb, select.filters: there is no filter `capp`"),
        ("select.filters=[odds]", "recipe lamb, select.filters: there is no filter `odds`"),
        ("engine=vlm", "recipe lamb, engine.name: there is no engine `vlm`"),
        ("assess.assessor=plugin:od", "recipe lamb, assess.assessor: there is no assessor `plugin:od`"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_of_ours_and_theirs(
    package: Package, settings: str, message: str
) -> None:
    package("", filters="odd", assessors="odd")
    nearest = {"capp": "cap", "odds": "odd", "vlm": "vllm", "od": "plugin:odd"}
    with pytest.raises(UserError) as caught:
        load_recipe("lamb", [settings])
    wanted = nearest[re.split(r"[=:\[\]]+", settings.rstrip("]"))[-1]]
    assert str(caught.value) == f"{message}, of ours or of an installed package. Did you mean `{wanted}`?"


def test_ours_come_before_those_of_the_same_name(package: Package) -> None:
    package("raise RuntimeError", filters="cap", engines="vllm", benchmarks="mt_bench")
    recipe = load_recipe("lamb", ["evaluate.benchmarks=[mt_bench]"])
    assert origins(recipe) == {}
    assert type(open_benchmark("mt_bench", recipe)).__name__ == "MtBench"
    assert set(OWN_BENCHMARKS) == set(METRICS_OF_OURS)


def test_a_stages_key_holds_version_and_settings_of_the_plug_ins_that_work_in_it(package: Package) -> None:
    def keys(*words: str) -> dict[str, Any]:
        recipe = load_recipe("lamb", [*everywhere, *words])
        return {stage: setting_inputs(stage, recipe, {}) for stage in STAGES}

    everywhere = ["select.filters=[odd]", "engine=mine", "assess.assessor=plugin:judge"]
    entries = {"filters": "odd", "engines": "mine", "assessors": "judge"}
    package("", **entries)
    before = keys()
    assert before["select"]["plugins.filters.odd"] == {"from": "other 1.0", "settings": {}}
    set_ = keys("plugins.odd.x=1")
    assert {stage for stage in STAGES if set_[stage] != before[stage]} == {"select"}
    package("", "2.0", **entries)
    after = keys()
    differing = {stage: changed(before[stage], after[stage], ended=True) for stage in STAGES}
    # An engine is how the work is done: what has ended stands.
    judged = ["plugins.assessors.judge"]
    wanted = {"select": ["plugins.filters.odd"], "assess": judged, "draw": judged}
    assert {stage: names for stage, names in differing.items() if names} == wanted
    assert changed(before["respond"], after["respond"], ended=False) == ["plugins.engines.mine"]
    assert all("plugins" not in name for name in before["train"])


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [("filters", Filter), ("assessors", Assessor), ("engines", Engine), ("benchmarks", Benchmark)],
)
def test_what_is_looked_for_is_what_the_protocols_have(kind: plugins.Kind, protocol: type) -> None:
    public = {name for name, value in vars(protocol).items() if not name.startswith("_") and callable(value)}
    assert set(METHODS[kind]) == public
    assert set(METHODS) == set(get_args(plugins.Kind))
