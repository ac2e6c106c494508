"""The card of a model or of a dataset: what it is, how it was made and measured, and what it is not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from isheep import __version__
from isheep.errors import UserError
from isheep.export.licences import UNKNOWN_LICENCE, licence_of
from isheep.hub import hub_data, is_hub_id, known_data, known_folder
from isheep.intervals import UNKNOWN, score
from isheep.markup import markdown_templates
from isheep.recipe import PACKAGE_PREFIX, Recipe, locate
from isheep.recipe.files import dump_yaml
from isheep.secrecy import without_secrets
from isheep.store.joined import CONTAMINATION, Joined
from isheep.store.run import MANIFEST, Run
from isheep.store.status import status, stopped, watched
from isheep.terminal import printable

CARD = "README.md"
TEMPLATES = markdown_templates(Path(__file__).with_name("cards"))
PAPER = "arxiv:2408.08072"

HEALTH = {
    "near_twin_share": ("near-twins of earlier ones", ".0%"),
    "twins_within_share": ("with a twin inside", ".0%"),
    "stop_share": ("stop by themselves", ".0%"),
    "one_word_share": ("one-word answers", ".0%"),
    "response_words_median": ("median words", "g"),
    "unparsed_share": ("no score could be told", ".0%"),
}
"""Figure of health.json -> its heading and format."""
LANGUAGES = {"package:filters/english.yaml": "en"}
"""The recipe's rules -> the language that they are for."""
SAMPLES = 3
SAMPLE_LENGTH = 600
"""Characters of each text of a sample."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a card will stand, and what only who publishes can say."""

    repository: str | None = None
    """`owner/name` of what the card is of; None: a folder."""
    dataset: str | None = None
    """`owner/name` of the pairs that trained the model, if they are published, too."""
    licence: str | None = None
    """None: not said."""


@dataclass(frozen=True, slots=True)
class Model:
    """Of which a card is written."""

    kind: Literal["adapter", "merged"]
    iteration: int
    merge: Mapping[str, Any] | None
    """What stands in merge.json, None where nothing was merged."""


@dataclass(frozen=True, slots=True)
class Licences:
    """None: could not tell."""

    given: str | None
    base: str | None
    seeds: str | None


def base_name(path: str) -> str:
    """The base as others may call it: a hub id, `package:...`, or the name of its folder, which no hub id is like."""
    return path if _is_everywhere(path) else f"./{PurePath(path).name}"


def data_file(iteration: int) -> str:
    """Where a dataset has the pairs of an iteration."""
    return f"data/iteration-{iteration:02d}.parquet"


def licences(run: Run, given: str | None) -> Licences:
    """What is known of the licences of what a run was made from."""
    base, seeds = run.recipe.model.path, run.recipe.seeds.path
    data = hub_data(seeds)
    folder = known_data(data) if data else locate(seeds)
    beside = folder.parent if folder is not None and folder.is_file() else folder
    return Licences(given, licence_of(base, known_folder(base)), licence_of(seeds, beside))


def model_card(run: Run, model: Model, publication: Publication = Publication()) -> str:
    """The model's card as Markdown, its metadata as YAML before it.

    No text of a record stands in it, no path of this machine and no secret of its environment.
    """
    from huggingface_hub import ModelCardData

    content = _content(run, publication)
    known: Licences = content["licences"]
    path, name = run.recipe.model.path, content["name"]
    data = ModelCardData(
        base_model=path if is_hub_id(path) else None,
        base_model_relation=("adapter" if model.kind == "adapter" else "finetune") if is_hub_id(path) else None,
        library_name="peft" if model.kind == "adapter" else "transformers",
        pipeline_tag="text-generation",
        license=known.given or known.base or UNKNOWN_LICENCE,
        language=content["language"],
        datasets=[publication.dataset] if publication.dataset else None,
        tags=["i-sheep", "self-alignment", "synthetic-data", PAPER, run.recipe.train.method],
        model_name=name,
        eval_results=_eval_results(content["status"], model.iteration) or None,
    )
    if data.eval_results is None:
        data.model_name = None
    load = _load_adapter(path, publication) if model.kind == "adapter" else _load_merged(publication)
    return _rendered("model.md.jinja", data.to_yaml(), content | {"model": model, "load": load})


def dataset_card(
    run: Run, files: Mapping[int, int], samples: Sequence[Joined], publication: Publication = Publication()
) -> str:
    """The card of a run's kept pairs, as `model_card` is of a model.

    Args:
        run: whose.
        files: iteration -> pairs in its file (`data_file`).
        samples: records to show, as code in which nothing acts.
        publication: where it will stand.
    """
    from huggingface_hub import DatasetCardData

    content = _content(run, publication)
    known: Licences = content["licences"]
    paths = {number: data_file(number) for number in files}
    parts = {"default": list(paths.values())} | {f"iteration-{n:02d}": [path] for n, path in paths.items()}
    configs = [
        {"config_name": name, "data_files": [{"split": "train", "path": names}]} for name, names in parts.items()
    ]
    data = DatasetCardData(
        language=content["language"],
        license=known.given or UNKNOWN_LICENCE,
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        task_categories=["text-generation"],
        size_categories=[_size(sum(files.values()))],
        pretty_name=content["name"],
        tags=["i-sheep", "synthetic", "self-alignment", "instruction-tuning", PAPER],
        configs=configs,
    )
    load = ["from datasets import load_dataset", "", f"pairs = load_dataset({_folder(publication)})"]
    shown = [_sample(record) for record in samples]
    more = {"files": files, "samples": shown, "load": "\n".join(load)}
    return _rendered("dataset.md.jinja", data.to_yaml(), content | more)


def _rendered(template: str, metadata: str, content: Mapping[str, Any]) -> str:
    text = TEMPLATES.get_template(template).render(content)
    return without_secrets(f"---\n{metadata}\n---\n\n{text}")


def _content(run: Run, publication: Publication) -> dict[str, Any]:
    """What both kinds of card say."""
    found = status(run)
    rows = found["iterations"]
    base = base_name(run.recipe.model.path)
    short = (
        base.removeprefix(PACKAGE_PREFIX).partition("/")[0] if base.startswith(PACKAGE_PREFIX) else PurePath(base).name
    )
    name = publication.repository or f"{short}-i-sheep"
    versions = (run.read_json(MANIFEST) or {}).get("versions") or {}
    return {
        "name": printable(name.rpartition("/")[2]),
        "publication": publication,
        "status": found,
        "recipe": run.recipe,
        "base": base,
        "seeds": base_name(run.recipe.seeds.path).removeprefix("./"),
        "language": LANGUAGES.get(run.recipe.rules.language),
        "rows": rows,
        "shares": {row["iteration"]: _share(row) for row in rows},
        "scores": _scores(rows),
        "watched": watched(found),
        "stopped": stopped(found),
        "health": {row["iteration"]: _health(row["health"]) for row in rows if row["health"]},
        "headings": [heading for heading, _ in HEALTH.values()],
        "alarms": [(row["iteration"], *one) for row in rows for one in row["health"].get("alarms", {}).items()],
        "contamination": _contamination(run),
        "licences": licences(run, publication.licence),
        "recipe_yaml": dump_yaml(_without_places(run.recipe)),
        "versions": {name: version for name, version in versions.items() if version},
        "isheep": __version__,
        "unknown": UNKNOWN,
    }


def _share(row: Mapping[str, Any]) -> str:
    return f"{row['kept'] / row['assessed']:.0%}" if row["assessed"] else UNKNOWN


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Benchmark, metric and what each iteration reached, a dash where that is not known."""
    names = {(bench, metric): None for row in rows for bench, metrics in row["scores"].items() for metric in metrics}
    return [(*pair, [score(row["scores"].get(pair[0], {}).get(pair[1])) for row in rows]) for pair in names]


def _health(health: Mapping[str, Any]) -> list[str]:
    return [UNKNOWN if health.get(key) is None else f"{health[key]:{form}}" for key, (_, form) in HEALTH.items()]


def _contamination(run: Run) -> list[tuple[int, str, int, int]]:
    """Iteration, benchmark, its questions, and the pairs that hold one."""
    return [
        (one.number, name, found["texts"], len(found["hits"]))
        for one in run.iterations()
        for name, found in (one.read_json(CONTAMINATION) or {}).items()
    ]


def _eval_results(found: Mapping[str, Any], iteration: int) -> list[Any]:
    """What the iteration's model reached; the interval stands with the arguments, the only place that is free."""
    from huggingface_hub import EvalResult

    scores: Mapping[str, Mapping[str, Any]] = next(
        (row["scores"] for row in found["iterations"] if row["iteration"] == iteration), {}
    )
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=printable(benchmark),
            dataset_name=printable(benchmark),
            metric_type=printable(metric),
            metric_name=printable(metric).replace("_", " "),
            metric_value=one["value"],
            metric_args={"n": one.get("n"), "low_95": one.get("low"), "high_95": one.get("high")},
        )
        for benchmark, metrics in scores.items()
        for metric, one in metrics.items()
        if one.get("value") is not None
    ]


def _without_places(recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings without how the work was done, and of what lay on a machine the name alone."""
    data = recipe.model_dump(mode="json", exclude={"engine", "watch"})
    found: dict[str, Any] = _portable(data)
    return found


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_portable(one) for one in value]
    if not isinstance(value, str) or _is_everywhere(value):
        return value
    if "://" in value:
        return "(a URL)"
    return PurePath(value).name if "/" in value or value.startswith("~") else value


def _is_everywhere(path: str) -> bool:
    """Whether it means the same on every machine."""
    try:
        return path.startswith(PACKAGE_PREFIX) or is_hub_id(path) or hub_data(path) is not None
    except UserError:  # It only begins like data of the hub.
        return False


def _load_adapter(path: str, publication: Publication) -> str:
    base = json.dumps(path if is_hub_id(path) else f"path/to/{PurePath(path).name}")
    folder = _folder(publication)
    return "\n".join(
        [
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({folder})",
            f"model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({base}), {folder})",
            f"model.generation_config = GenerationConfig.from_pretrained({folder})  # its stop tokens",
        ]
    )


def _load_merged(publication: Publication) -> str:
    folder = _folder(publication)
    return "\n".join(
        [
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            f"tokenizer = AutoTokenizer.from_pretrained({folder})",
            f"model = AutoModelForCausalLM.from_pretrained({folder})",
        ]
    )


def _folder(publication: Publication) -> str:
    return json.dumps(publication.repository or "path/to/this/folder")


def _size(pairs: int) -> str:
    """The hub's category."""
    if pairs < 1000:
        return "n<1K"
    steps = [(1000, "1K"), (10_000, "10K"), (100_000, "100K"), (1_000_000, "1M"), (10_000_000, "10M")]
    names = [name for bound, name in steps if pairs >= bound]
    following = [name for bound, name in steps if pairs < bound] or ["100M"]
    return f"{names[-1]}<n<{following[0]}"


def _sample(record: Joined) -> str:
    texts = {"instruction": record.instruction.instruction, "input": record.instruction.input}
    if record.response is not None:
        texts["response"] = record.response.response
    cut = {key: text if len(text) <= SAMPLE_LENGTH else f"{text[:SAMPLE_LENGTH]} ..." for key, text in texts.items()}
    return "\n".join(f"{key}: {text}" for key, text in cut.items() if text)
