"""Scores are read from what the model wrote or from its probabilities; what cannot be told is None."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from isheep.engines import Request
from isheep.errors import UserError
from isheep.models import Model, Models
from isheep.prompts import Prompt
from isheep.recipe import Recipe, locate, parse_recipe
from isheep.recipe.settings import AssessSettings
from isheep.records import Assessment, Instruction, Response
from isheep.seeding import derive_seed
from isheep.stages.assess import FIELDS, assess, load_prompt, prompt_files
from isheep.stages.scores import SCORES, TOO_LONG, parse_score
from isheep.store.files import write_json
from isheep.store.run import Iteration, Run
from tests.engines.served import Manners, serve

BuildTokenizer = Callable[..., Any]


@pytest.mark.parametrize("variant", ["simple", "combined", "icl"])
def test_a_variant_has_a_prompt_for_each_question(variant: Any) -> None:
    files = prompt_files(AssessSettings(variant=variant))
    assert files == {
        "quality": f"package:prompts/assess/{variant}_quality.txt",
        "following": f"package:prompts/assess/{variant}_following.txt",
    }
    quality, following = (load_prompt(locate(file)) for file in files.values())
    assert quality.text.rstrip().endswith("Quality:")
    assert following.text.rstrip().endswith("Following:")


def test_a_prompt_of_ones_own_stands_for_its_question_alone() -> None:
    combined = prompt_files(AssessSettings())
    assert prompt_files(AssessSettings(quality_prompt="q.txt")) == {**combined, "quality": "q.txt"}
    assert prompt_files(AssessSettings(following_prompt="f.txt")) == {**combined, "following": "f.txt"}


def test_only_the_prompts_that_somebody_is_shown_are_read() -> None:
    assert list(prompt_files(AssessSettings(level="quality"))) == ["quality"]
    assert list(prompt_files(AssessSettings(level="following"))) == ["following"]
    assert prompt_files(AssessSettings(level="none")) == {}
    assert prompt_files(AssessSettings(assessor="random")) == {}


def write_prompt(file: Path, *lines: str) -> Path:
    """A prompt file: two lines of header, then these lines, then the fields."""
    text = "\n".join((*lines, "{{instruction}} {{input}} {{response}} Score:"))
    file.write_text(f"# A header, Quality: 99||not shown\n---\n{text}\n")
    return file


@pytest.mark.parametrize("score", ["0", "11", "10.5", "-3", "100", "0.5"])
def test_an_example_scored_outside_the_scale_is_refused_with_its_line(tmp_path: Path, score: str) -> None:
    file = write_prompt(tmp_path / "icl.txt", "Task: a", "Quality: 10||fine", f"Quality: {score} || odd")
    with pytest.raises(UserError) as caught:
        load_prompt(file)
    assert (caught.value.where, caught.value.what, caught.value.mend) == (
        f"{file}, line 5",
        f"its example has the score {score}, which lies outside 1 to 10.",
        "Give a score of 1 to 10.",
    )


@pytest.mark.parametrize(
    "line", ["Q: 1||a", "Q: 10 ||b", "Q: 8.5||c", "Write <score>||<why>.", "Format: <score>||why", ""]
)
def test_an_example_on_the_scale_and_a_format_without_a_number_are_taken(tmp_path: Path, line: str) -> None:
    assert load_prompt(write_prompt(tmp_path / "icl.txt", line)).text.startswith(line)


# From here on a real model judges: random weights, a byte-level tokenizer, and a context that holds every prompt.

Fill = Callable[..., "Bench"]


class Bench:
    """A run with one iteration of answered tasks, its recipe, and the run's models."""

    def __init__(self, recipe: Recipe, directory: Path, number: int, pairs: int) -> None:
        self.recipe = recipe
        self.run = Run.create_or_resume(directory, recipe)
        self.iteration: Iteration = self.run.iteration(number)
        self.models = Models(recipe)
        tasks = [
            Instruction(f"r{i}", number, i, f"Name {i} birds.", "in Peru" * (i % 2), [], 0, "p") for i in range(pairs)
        ]
        self.iteration.table("instructions").append(tasks)
        self.iteration.table("instructions").close()
        answers = [Response(task.id, f"Owl {task.index}", "stop", 2) for task in tasks]
        self.iteration.table("responses").append(answers)
        self.iteration.table("responses").close()

    def assess(self) -> list[Assessment]:
        with self.models.assessor(self.models.base) as assessor:
            assess(self.iteration, self.recipe, assessor)
        return self.rows()

    def rows(self) -> list[Assessment]:
        return list(self.iteration.table("assessments").rows())


@pytest.fixture(scope="module")
def judge_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a context of 1,024 tokens."""
    return with_room(tiny_model, tmp_path_factory.mktemp("judge") / "model")


def with_room(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    config = folder / "config.json"
    write_json(config, {**json.loads(config.read_text()), "max_position_embeddings": 1024})
    return folder


@pytest.fixture
def fill(judge_folder: Path, tmp_path: Path) -> Iterator[Fill]:
    """`fill(number=1, pairs=6, seed=0, model=..., **assess)`: a bench of its own each time."""
    made: list[Bench] = []
    short = write_prompt(tmp_path / "short.txt")

    def make(number: int = 1, pairs: int = 6, seed: int = 0, model: Path = judge_folder, **assess: Any) -> Bench:
        if not assess.keys() & {"variant", "quality_prompt"}:
            assess |= {"quality_prompt": str(short), "following_prompt": str(short)}
        entries = {
            "model": {"path": str(model), "dtype": "float32"},
            "engine": {"device": "cpu", "batch_size": 4 if pairs <= 10 else 60, "threads": 1},
            "assess": {"max_new_tokens": 8, **assess},
            "seed": seed,
        }
        made.append(Bench(parse_recipe(entries, "test"), tmp_path / f"run-{len(made)}", number, pairs))
        return made[-1]

    yield make
    for bench in made:
        bench.models.release()
        bench.run.release()


def test_each_level_asks_what_it_says_and_leaves_the_rest_empty(fill: Fill) -> None:
    rows = {
        level: fill(level=level, read="distribution").assess() for level in ("none", "quality", "following", "both")
    }
    assert all(len(found) == 6 for found in rows.values())
    for both, quality, following, none in zip(
        rows["both"], rows["quality"], rows["following"], rows["none"], strict=True
    ):
        assert both.quality_raw
        assert both.following_raw
        assert quality == Assessment(both.id, both.quality, None, both.quality_raw, None, "base")
        assert following == Assessment(both.id, None, both.following, None, both.following_raw, "base")
        assert none == Assessment(both.id, None, None, None, None, "none")
        assert (both.asked, quality.asked, none.asked) == (("quality", "following"), ("quality",), ())


@pytest.mark.parametrize("settings", [{"level": "none"}, {"assessor": "random"}])
def test_nobody_is_asked_where_there_is_no_question_or_chance_judges(fill: Fill, settings: Any) -> None:
    bench = fill(**settings)
    bench.assess()
    assert bench.models._engine is None


def test_the_variants_show_different_prompts(fill: Fill) -> None:
    raws = {
        fill(pairs=1, variant=variant, read="distribution").assess()[0].quality_raw
        for variant in ("simple", "combined", "icl")
    }
    assert len(raws) == 3


def test_each_question_is_shown_its_own_prompt(fill: Fill, tmp_path: Path) -> None:
    quality, following = (str(write_prompt(tmp_path / f"{word}.txt", word)) for word in ("one", "two"))
    plain = fill(quality_prompt=quality, following_prompt=following, read="distribution").assess()
    swapped = fill(quality_prompt=following, following_prompt=quality, read="distribution").assess()
    assert [row.quality_raw for row in plain] == [row.following_raw for row in swapped]
    assert [row.quality_raw for row in plain] != [row.following_raw for row in plain]


def test_chance_is_even_over_the_ten_and_a_function_of_seed_iteration_record_and_question(fill: Fill) -> None:
    rows = fill(pairs=600, assessor="random").assess()
    assert {(row.quality_raw, row.following_raw, row.assessor) for row in rows} == {("random", "random", "random")}
    for scores in ([row.quality for row in rows], [row.following for row in rows]):
        assert set(scores) == set(SCORES)
        assert max(Counter(scores).values()) < 100
    assert [row.quality for row in rows] != [row.following for row in rows]
    short = rows[:40]
    assert fill(pairs=40, assessor="random").assess() == short
    assert fill(pairs=40, assessor="random", level="quality").assess()[7].quality == short[7].quality
    assert fill(pairs=40, assessor="random", seed=1).assess() != short
    assert fill(pairs=40, assessor="random", number=2).assess() != short


def test_base_judges_where_it_is_told_to_and_else_the_current_model(fill: Fill) -> None:
    for chosen, name in (("current", "iteration-3"), ("base", "base")):
        bench = fill(assessor=chosen)
        with bench.models.assessor(Model(bench.models, 3, None)) as assessor:
            assert assessor.name == name
            assert assessor.models is bench.models
            assess(bench.iteration, bench.recipe, assessor)
        assert {row.assessor for row in bench.rows()} == {name}


CARRIED = "{% for m in messages %}{{ m.role }}{{ m.content }}<|im_end|>{% endfor %}"


@pytest.fixture(scope="module")
def other_folder(build_tokenizer: BuildTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model: its own weights, its own ids for the same text, a template of its own."""
    folder = tmp_path_factory.mktemp("other") / "model"
    tokenizer = build_tokenizer(specials=("<pad>", "<|endoftext|>", "<|im_end|>", "<|im_start|>"), template=CARRIED)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=600, tie_word_embeddings=True, initializer_range=0.3, bos_token_id=None,
        eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("read", ["generate", "distribution"])
def test_another_model_judges_with_its_own_weights_and_tokens(fill: Fill, other_folder: Path, read: str) -> None:
    rows = fill(assessor=str(other_folder), read=read).assess()
    own = fill(read=read).assess()
    alone = fill(model=other_folder, read=read).assess()
    assert {row.assessor for row in rows} == {str(other_folder)}
    assert [(row.quality, row.quality_raw) for row in rows] == [(row.quality, row.quality_raw) for row in alone]
    assert not {row.quality_raw for row in rows} & {row.quality_raw for row in own}


def test_the_engines_of_two_models_are_never_open_at_once(fill: Fill, other_folder: Path) -> None:
    bench = fill(assessor=str(other_folder))
    runs_own = weakref.ref(bench.models.base.engine)
    with bench.models.assessor(bench.models.base) as assessor:
        gc.collect()
        assert runs_own() is None
        assert assessor.encoder.stop_ids == {1, 2}
        others = weakref.ref(assessor.engine)
    del assessor
    gc.collect()
    assert others() is None
    assert bench.models.base.engine.positions == 1024


def test_another_model_is_not_opened_to_answer_no_question(fill: Fill, tmp_path: Path) -> None:
    assert {row.assessor for row in fill(assessor=str(tmp_path / "gone"), level="none").assess()} == {"none"}


def test_both_readings_keep_what_they_saw(fill: Fill) -> None:
    for row in fill(read="distribution").assess():
        assert list(json.loads(row.quality_raw or "")) == [str(score) for score in SCORES]
    written = fill(read="generate").assess()
    assert all(row.quality_raw and not row.quality_raw.startswith("{") for row in written)


def test_where_there_are_no_log_probabilities_the_score_is_written_which_is_said_and_kept(
    fill: Fill, judge_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = fill(read="generate").assess()
    with serve(judge_folder, Manners(logprobs=False)) as server:
        data = fill(read="distribution").recipe.model_dump()
        data["engine"] |= {"name": "openai", "server": {**data["engine"]["server"], "url": server.url}}
        bench = Bench(parse_recipe(data, "test"), tmp_path / "served", 1, 6)
        found = bench.assess()
        bench.models.release()
        bench.run.release()
    assert bench.recipe.assess.read == "distribution"
    assert [row.quality_raw for row in found] == [row.quality_raw for row in written]
    assert [row.quality for row in found] == [row.quality for row in written]
    assert capsys.readouterr().err.count("The scores are written out and parsed instead.") == 1


def generated(bench: Bench, attempt: int, temperature: float) -> list[str]:
    """What the run's model writes for the quality of each pair in one attempt, asked for directly."""
    encoder, settings = bench.models.encoder, bench.recipe.assess
    prompt = Prompt.load(locate(settings.quality_prompt or ""), FIELDS)
    requests = [
        Request(
            id=task.id,
            prompt=encoder.plain(
                prompt.render(instruction=task.instruction, input=task.input, response=f"Owl {place}")
            ),
            max_new_tokens=settings.max_new_tokens,
            stop_ids=encoder.stop_ids,
            temperature=temperature,
            seed=derive_seed(bench.recipe.seed, bench.iteration.number, "assess quality", task.id, attempt),
        )
        for place, task in enumerate(bench.iteration.table("instructions").rows())
    ]
    done = {answer.id: encoder.decode(answer.tokens) for answer in bench.models.base.engine.generate(requests)}
    return [done[request.id] for request in requests]


@pytest.mark.parametrize(("temperature", "again"), [(0.0, 1.0), (0.7, 0.7)])
def test_what_gave_no_score_is_asked_once_more_with_another_seed(fill: Fill, temperature: float, again: float) -> None:
    bench = fill(pairs=300, temperature=temperature, max_new_tokens=4)
    rows = bench.assess()
    first, second = generated(bench, 0, temperature), generated(bench, 1, again)
    mended = 0
    for row, one, two in zip(rows, first, second, strict=True):
        scores = parse_score(one), parse_score(two)
        mended += scores[0] is None and scores[1] is not None
        seen = one if scores[0] is not None or scores[1] is None else two
        assert (row.quality, row.quality_raw) == (parse_score(seen), seen)
    assert mended >= 3


def test_a_written_assessment_is_as_long_and_as_warm_as_the_settings_say(fill: Fill) -> None:
    def raws(**settings: Any) -> list[str]:
        return [row.quality_raw or "" for row in fill(**settings).assess()]

    assert all(len(raw) <= 2 for raw in raws(max_new_tokens=1))
    assert any(len(raw) > 2 for raw in raws(max_new_tokens=8))
    assert raws(temperature=0.0) != raws(temperature=1.5)


def test_an_assessment_goes_on_where_it_stopped(fill: Fill) -> None:
    whole = fill(pairs=10, temperature=1.0).assess()
    bench = fill(pairs=10, temperature=1.0)
    bench.iteration.table("assessments").append(whole[:4])
    assert bench.assess() == whole
    assert bench.iteration.table("assessments").is_done
    assert bench.assess() == whole


def test_a_pair_that_the_assessor_has_no_room_for_could_not_be_told(fill: Fill, tiny_model: Path) -> None:
    bench = fill(model=tiny_model, read="distribution")
    assert all(row.quality_raw != TOO_LONG for row in bench.assess())
    long = fill(model=tiny_model, read="distribution", variant="combined")
    assert {(row.quality, row.quality_raw) for row in long.assess()} == {(None, TOO_LONG)}
