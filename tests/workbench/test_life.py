"""A record's life on a real run: prompts are those that were sent, verdicts those that decided, all of it text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from isheep.models import Models
from isheep.prompts import Prompt
from isheep.recipe import locate
from isheep.records import Alternative, Assessment, Response, Selection
from isheep.seeds import load_seeds
from isheep.stages.respond import _requests
from isheep.stages.shots import gather_shots
from isheep.stages.synthesize import FIELDS, _Writer
from isheep.store.joined import join
from isheep.store.marks import add_mark
from isheep.store.run import Run
from isheep.workbench import views
from isheep.workbench.life import life, prompts_of
from isheep.workbench.opened import Opened
from isheep.workbench.rebuilt import distribution
from isheep.workbench.verdicts import DROPPED, OPEN, OUT, PASSED, verdicts
from tests.data import LAMB
from tests.workbench.conftest import HOSTILE, MakeRun, instruction


@pytest.fixture(scope="module")
def opened(lamb_run: Path) -> Opened:
    return Opened("lamb", lamb_run)


def records(one: Opened) -> list[tuple[int, str]]:
    return [(number, record.instruction.id) for number in (1, 2) for record in join(one.run.iteration(number))]


def test_the_synthesis_prompt_is_the_request_that_was_sent(opened: Opened) -> None:
    recipe, run = opened.run.recipe, opened.run
    seeds = load_seeds(locate(recipe.seeds.path))
    sent: set[str] = set()
    with Models(recipe) as models:
        for number in (1, 2):
            iteration, earlier = run.iteration(number), [run.iteration(past) for past in range(1, number)]
            model = models.out_of(run.iteration(number - 1))
            pool = gather_shots(iteration, earlier, seeds, recipe, model)
            writer = _Writer(number, model.number, recipe, pool, seeds, earlier, [])
            requests = writer.requests(model, 0)
            sent |= {models.encoder.spell(next(requests).prompt) for _ in range(64)}
    found = {prompts_of(opened, id_)[0].text for _, id_ in records(opened)}
    assert None not in found
    assert found <= sent


@pytest.mark.parametrize("number", [1, 2])
def test_the_response_prompt_is_the_request_that_was_sent(opened: Opened, number: int) -> None:
    run = opened.run
    with Models(run.recipe) as models:
        model = models.out_of(run.iteration(number - 1))
        asked = [record.instruction for record in join(run.iteration(number)) if record.response][:10]
        sent = {r.id: models.encoder.spell(r.prompt) for r in _requests(asked, number, run.recipe, model)}
    assert {id_: prompts_of(opened, id_)[1].text for id_ in sent} == sent
    assert all(("<|im_start|>" in text) == (number > 1) for text in sent.values())


def test_the_assessment_prompts_hold_the_pair(opened: Opened) -> None:
    record = next(one for one in join(opened.run.iteration(1)) if one.assessment)
    assert record.response is not None
    for block in prompts_of(opened, record.instruction.id)[2:]:
        assert block.text is not None
        assert record.instruction.instruction in block.text
        assert record.response.response in block.text
    assert [block.title for block in prompts_of(opened, record.instruction.id)[2:]] == [
        "Prompt of the score of quality",
        "Prompt of the score of following",
    ]


def test_what_changed_since_is_not_rebuilt(lamb_run: Path, tmp_path: Path) -> None:
    directory = tmp_path / "changed"
    shutil.copytree(lamb_run, directory)
    id_ = next(one.instruction.id for one in join(Run.read(directory).iteration(1)) if one.assessment)
    notes = json.loads((directory / "iteration-01" / "stages.json").read_text())
    notes["assess"]["inputs"]["assess.variant"] = "simple"
    del notes["respond"]
    (directory / "iteration-01" / "stages.json").write_text(json.dumps(notes))
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps({**manifest, "seeds": "0" * 64}))
    wrote, answered, quality, _ = prompts_of(Opened("changed", directory), id_)
    assert wrote.text is not None, wrote.note
    assert (answered.text, "did not note" in answered.note) == (None, True)
    assert (quality.text, "assess.variant is not what it was then" in quality.note) == (None, True)
    notes["synthesize"]["inputs"]["seeds.path"] = "another file"
    (directory / "iteration-01" / "stages.json").write_text(json.dumps(notes))
    wrote = prompts_of(Opened("changed", directory), id_)[0]
    assert (wrote.text, "seeds.path" in wrote.note) == (None, True)


def test_another_tokenizer_rebuilds_nothing(lamb_run: Path, tmp_path: Path) -> None:
    directory, model = tmp_path / "run", tmp_path / "model"
    shutil.copytree(lamb_run, directory)
    shutil.copytree(LAMB, model)
    recipe = (directory / "recipe.yaml").read_text()
    (directory / "recipe.yaml").write_text(recipe.replace("package:lamb/model", str(model)))
    id_ = next(one.instruction.id for one in join(Run.read(directory).iteration(1)) if one.response)
    assert all(block.text is not None for block in prompts_of(Opened("run", directory), id_))
    with (model / "tokenizer.json").open("a") as file:
        file.write("\n")
    found = prompts_of(Opened("run", directory), id_)
    assert all(block.text is None and "tokenizer.json is not what it was then" in block.note for block in found)
    shutil.rmtree(model)
    assert all("is not here" in block.note for block in prompts_of(Opened("run", directory), id_))


def test_the_verdicts_are_those_that_decided(opened: Opened) -> None:
    for _, id_ in records(opened):
        record = opened.catalog.joined(id_)
        assert record is not None
        found = verdicts(opened.run, record)
        assert [one.of for one in found][-2:] == opened.run.recipe.select.filters
        first = next((one for one in found if one.said == DROPPED), None)
        assert (first is None) == bool(record.kept)
        if record.kept:
            assert {one.said for one in found} == {PASSED}
        elif first is not None and record.selection is not None:
            assert first.of == record.dropped_by
        elif first is not None and record.dropped_by == "not_novel":
            assert first.of == "novelty"
            assert found[-1].said == OUT


def test_a_record_that_is_under_way_has_open_verdicts(make_run: MakeRun) -> None:
    one = Opened("made", make_run([instruction(0, "Name a bird."), instruction(1, "Name a fish.")]))
    record = one.catalog.joined("i0000")
    assert record is not None
    assert [verdict.said for verdict in verdicts(one.run, record)][3:] == [OPEN] * 4
    assert life(one, "nobody") is None


def test_of_filters_of_sets_only_the_one_that_dropped_says_so(make_run: MakeRun) -> None:
    made = [instruction(n, "Name a bird.") for n in range(4)]
    answers = [Response(one.id, "owl", "stop", 1) for one in made]
    scores = [Assessment(one.id, 9.0, 9.0, "9", "9", "base") for one in made]
    why = [None, "random", "cap", "perplexity"]
    chosen = [
        Selection(one.id, by is None, by, by, 99.0 if by == "perplexity" else 2.0, 2.0)
        for one, by in zip(made, why, strict=True)
    ]
    filters = "select.filters=[threshold,random,perplexity,cap]"
    one = Opened("made", make_run(made, answers, scores, chosen, settings=[filters, "select.random=2"]))
    found = []
    for row in made:
        record = one.catalog.joined(row.id)
        assert record is not None
        found.append([verdict.said for verdict in verdicts(one.run, record)][-4:])
    assert found[0] == [PASSED] * 4
    assert found[1] == [PASSED, DROPPED, PASSED, OUT]
    assert found[2] == [PASSED, PASSED, PASSED, DROPPED]
    assert found[3] == [PASSED, PASSED, DROPPED, OUT]


def test_the_life_of_a_real_record_has_all_of_it(opened: Opened) -> None:
    record = next(one for one in join(opened.run.iteration(2)) if one.assessment)
    blocks = {block.title: block for block in life(opened, record.instruction.id) or []}
    assert {"Instruction", "Response", "Rules and filters", "Nearest neighbour", "Examples"} <= set(blocks)
    assert [row[0] for row in blocks["Examples"].rows] == record.instruction.shot_ids
    assert all(row[1] != "not there any more" for row in blocks["Examples"].rows)
    bars = next(block for title, block in blocks.items() if title.startswith("Score of quality")).bars
    assert [name for name, _ in bars] == [str(score) for score in range(1, 11)]
    assert 0.5 < sum(share for _, share in bars) <= 1.001
    nearest = blocks["Nearest neighbour"]
    assert record.instruction.rouge_id is not None
    assert record.instruction.rouge_id in nearest.note
    assert nearest.text


def test_further_responses_stand_beside_the_first(make_run: MakeRun) -> None:
    made = [instruction(n, "Name a bird.") for n in range(2)]
    answers = [Response(one.id, "owl", "stop", 1) for one in made]
    scores = [Assessment(one.id, 9.0, 9.0, "9", "9", "base") for one in made]
    chosen = [Selection(made[0].id, True), Selection(made[1].id, False, "threshold", "too low")]
    drawn = [
        Alternative("i0000", 1, HOSTILE, "stop", 1, None, None, 3.25, None),
        Alternative("i0000", 2, "no", "length", 9, "unfinished", "cut"),
    ]
    one = Opened("made", make_run(made, answers, scores, chosen))
    assert "Further responses" not in views.record(one, "i0000")
    with Run.create_or_resume(one.directory, one.run.recipe) as run:
        run.iteration(1).table("alternatives").append(drawn)
    (block,) = [block for block in life(one, "i0000") or [] if block.title == "Further responses"]
    assert block.head == ("draw", "quality", "following", "response")
    assert block.rows == [("1", "3.25", "-", HOSTILE), ("2", "-", "-", "no (dropped by unfinished: cut)")]
    assert "<img" not in views.record(one, "i0000")
    assert "Further responses" not in views.record(one, "i0001")


def test_texts_of_a_record_act_nowhere(make_run: MakeRun) -> None:
    made = [instruction(0, HOSTILE, input=HOSTILE, shot_ids=[HOSTILE], rouge_max=0.5, rouge_id=HOSTILE)]
    answers = [Response("i0000", f"{HOSTILE}\x1b[2J\u202e", "stop", 1)]
    scores = [Assessment("i0000", None, None, HOSTILE, HOSTILE, HOSTILE)]
    chosen = [Selection("i0000", False, HOSTILE, HOSTILE)]
    one = Opened(HOSTILE, make_run(made, answers, scores, chosen))
    add_mark(one.directory, "i0000", "good", HOSTILE)
    pages = [views.record(one, "i0000"), views.prompts(one, "i0000"), views.progress([one]), views.record(one, HOSTILE)]
    pages += [views.side_by_side((one, 0), (one, 1)), views.problem(HOSTILE), views.note(HOSTILE), views.marks(one)]
    for page in pages:
        assert "<img" not in page
        assert "<script" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert pages[0].count("&lt;img") >= 9


@pytest.mark.parametrize("raw", [None, "", "8||good", "[]", '{"1": "x"}', "8", "[" * 100_000])
def test_only_a_distribution_is_taken_for_one(raw: str | None) -> None:
    assert distribution(raw) is None
    assert distribution('{"1": 0.25, "10": 0.5}') == {"1": 0.25, "10": 0.5}


def test_the_prompt_file_is_known_by_its_hash(opened: Opened) -> None:
    prompt = Prompt.load(locate(opened.run.recipe.synthesize.prompt), FIELDS)
    assert {record.instruction.prompt_id for record in join(opened.run.iteration(1))} == {prompt.id}
