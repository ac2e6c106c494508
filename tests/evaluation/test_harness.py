"""What lm-eval gets from our engine, against plain forward passes of the same model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from isheep.evaluation.harness import Answer, Harness
from isheep.models import Model, Models
from isheep.recipe import parse_recipe

TEXTS = ["Name a bird.", "Say he", "Spell the longest word of the list that follows:\na b c", "x"]


class Settings:
    """As much of an lm-eval task as the harness looks at."""

    def __init__(self, **config: Any) -> None:
        self.config = config

    def get_config(self, key: str) -> Any:
        return self.config.get(key)


TASKS = {
    "zero": Settings(num_fewshot=0),
    "shots": Settings(num_fewshot=2),
    "choice": Settings(output_type="multiple_choice", metric_list=[{"metric": "acc"}]),
    "last": Settings(output_type="loglikelihood"),
}


@pytest.fixture(scope="module")
def models(tiny_model: Path) -> Iterator[Models]:
    settings = {"model": {"path": str(tiny_model), "dtype": "float32"}, "engine": {"device": "cpu", "batch_size": 4}}
    with Models(parse_recipe(settings, "test")) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(folder)
    return folder


def log_probabilities(model: Any, ids: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(torch.tensor([list(ids)])).logits[0].float()
    return logits.log_softmax(-1)


def continuation_score(model: Any, before: Sequence[int], after: Sequence[int]) -> float:
    table = log_probabilities(model, [*before, *after])
    return sum(float(table[len(before) + place - 1, token]) for place, token in enumerate(after))


def greedy(model: Any, prompt: Sequence[int], stops: frozenset[int], most: int) -> tuple[list[int], bool]:
    """Tokens, and whether they were cut."""
    ids = list(prompt)
    while len(ids) < len(prompt) + most:
        token = int(log_probabilities(model, ids)[-1].argmax())
        if token in stops:
            return ids[len(prompt) :], False
        ids.append(token)
    return ids[len(prompt) :], True


def asking(task: str, *arguments: Any) -> Any:
    return Instance("any", {}, arguments, 0, metadata=(task, 0, 1))


def generate(model: Model, texts: Sequence[str], task: str = "zero", **settings: Any) -> list[Any]:
    wanted = {"until": [], "do_sample": False, "max_gen_toks": 40, **settings}
    return Harness(model, TASKS, seed=5).generate_until([asking(task, text, wanted) for text in texts])


def score(models: Models, pairs: Sequence[tuple[str, str]], task: str = "choice") -> list[tuple[float, bool]]:
    return Harness(models.base, TASKS, seed=5).loglikelihood([asking(task, *pair) for pair in pairs])


def test_the_base_answers_the_bare_instruction(models: Models, reference: Any) -> None:
    answers = generate(models.base, TEXTS)
    for text, answer in zip(TEXTS, answers, strict=True):
        tokens, cut = greedy(reference, models.encoder.plain(f"{text}\n"), models.encoder.stop_ids, 40)
        assert (answer, answer.cut) == (models.encoder.decode(tokens), cut)
    assert len(set(answers)) == len(TEXTS)


def test_a_trained_model_answers_through_its_template(models: Models, adapter: Path, tiny_model: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, str(adapter)).eval()
    for text, answer in zip(TEXTS, generate(Model(models, 1, adapter), TEXTS), strict=True):
        prompt = models.encoder.chat([{"role": "user", "content": text}])
        tokens, cut = greedy(trained, prompt, models.encoder.stop_ids, 40)
        assert (answer, answer.cut) == (models.encoder.decode(tokens), cut)


@pytest.mark.parametrize(("task", "text"), [("shots", "Q: a\nA: b\n\nQ: c"), ("zero", "Question: where?\nAnswer:")])
def test_the_base_goes_on_with_examples_and_after_a_colon_as_they_stand(
    models: Models, reference: Any, task: str, text: str
) -> None:
    tokens, _ = greedy(reference, models.encoder.plain(text), models.encoder.stop_ids, 8)
    assert generate(models.base, [text], task, max_gen_toks=8) == [models.encoder.decode(tokens)]


def test_an_answer_ends_at_the_first_of_the_tasks_strings_in_whatever_round_it_comes(models: Models) -> None:
    whole = {
        text: str(answer) for text, answer in zip(TEXTS, generate(models.base, TEXTS, max_gen_toks=150), strict=True)
    }
    text = max(whole, key=lambda asked: len(whole[asked]))
    late, later = whole[text][60:64], whole[text][70:74]
    place = min(whole[text].find(late), whole[text].find(later))
    answers = generate(models.base, TEXTS, until=[later, late, ""], max_gen_toks=150)
    answer = answers[TEXTS.index(text)]
    assert len(whole[text]) > 100
    assert (answer, answer.cut) == (whole[text][:place], False)
    for other, found in zip(TEXTS, answers, strict=True):
        if late not in whole[other] and later not in whole[other]:
            assert found == whole[other]


def test_a_prompt_that_leaves_no_room_gets_an_empty_answer_that_was_cut(models: Models) -> None:
    full, short = generate(models.base, ["x " * 200, "x"], until=["\n"])
    assert (full, full.cut) == ("", True)
    assert short == generate(models.base, ["x"], until=["\n"])[0]


def test_sampling_tasks_sample_by_their_seed(models: Models) -> None:
    sampled = [generate(models.base, TEXTS, do_sample=True, temperature=1.0) for _ in range(2)]
    assert sampled[0] == sampled[1] != generate(models.base, TEXTS)


def test_likelihoods_are_those_of_a_plain_forward_pass(models: Models, reference: Any) -> None:
    plain = models.encoder.plain
    pairs = [
        ("Is ice cold?", " yes"),
        ("Is ice cold?", " n"),
        ("Say", "a"),
        ("Say", "b"),
        ("A much longer context", "c"),
    ]
    expected = [continuation_score(reference, plain(before), plain(after)) for before, after in pairs]
    assert [total for total, _ in score(models, pairs)] == pytest.approx(expected, abs=1e-4)


def test_white_space_between_context_and_continuation_belongs_to_the_continuation(models: Models) -> None:
    assert score(models, [("Is it? ", "yes")]) == score(models, [("Is it?", " yes")])


def test_tokens_that_would_melt_together_are_kept_apart(models: Models, reference: Any) -> None:
    plain = models.encoder.plain
    assert len(plain("he")) == 1
    expected = continuation_score(reference, plain("h"), plain("e"))
    assert score(models, [("h", "e")])[0][0] == pytest.approx(expected, abs=1e-4)


def test_an_empty_context_is_the_end_of_text(models: Models, reference: Any) -> None:
    expected = continuation_score(reference, (0,), models.encoder.plain("he is"))
    assert score(models, [("", "he is")])[0][0] == pytest.approx(expected, abs=1e-4)


def test_the_start_of_a_context_that_is_too_long_is_left_out(models: Models, reference: Any) -> None:
    text, after = "abcdefghij" * 40, models.encoder.plain(" yes")
    kept = models.encoder.plain(text)[-(256 - len(after)) :]
    expected = continuation_score(reference, kept, after)
    assert score(models, [(text, " yes")])[0][0] == pytest.approx(expected, abs=1e-3)


def test_the_greedy_flag_is_told_to_tasks_that_look_at_it(models: Models, reference: Any) -> None:
    prompt = models.encoder.plain("Say he")
    tokens, _ = greedy(reference, prompt, frozenset(), 60)
    flags = []
    for count in range(1, 60):
        text = models.encoder.decode(tokens[:count])
        if models.encoder.plain(f"Say he{text}") == (*prompt, *tokens[:count]):
            flags.append(score(models, [("Say he", text), ("Say he", text + "zq")], "last"))
    assert flags
    assert all((right, wrong) == (True, False) for (_, right), (_, wrong) in flags)


def test_a_long_text_is_scored_once_token_by_token_in_windows(models: Models, reference: Any) -> None:
    ids = models.encoder.plain("The owl saw he. " * 30)
    assert 256 < len(ids) < 510
    found = Harness(models.base, TASKS, 5).loglikelihood_rolling([asking("last", models.encoder.decode(ids))])
    first = continuation_score(reference, (0,), ids[:255])
    rest = len(ids) - 255
    second = continuation_score(reference, ids[len(ids) - 256 : len(ids) - rest], ids[-rest:])
    assert found == pytest.approx([first + second], abs=1e-2)
    assert Harness(models.base, TASKS, 5).loglikelihood_rolling([asking("last", "")]) == [0.0]


def test_an_answer_is_a_text_like_any_other() -> None:
    assert Answer("owl") == "owl"
    assert not Answer("owl").cut
