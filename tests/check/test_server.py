"""What the check finds out from a server, and what it refuses before anything is spent."""

from __future__ import annotations

import pytest

from isheep.check import check
from isheep.errors import UserError
from isheep.recipe import Recipe, load_recipe
from tests.data import LAMB
from tests.engines.served import Manners, serve

SILENT = Manners(logprobs=False)


def recipe_at(url: str, *overrides: str) -> Recipe:
    return load_recipe("lamb", ["engine.name=openai", f"engine.server.url={url}", *overrides])


def refusal(recipe: Recipe) -> UserError:
    with pytest.raises(UserError) as caught:
        check(recipe)
    return caught.value


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["select.filters=[density]", "select.density.clusters=5"], "select.filters"),
        (["synthesize.shots_drawn=clusters"], "synthesize.shots_drawn"),
        ([f"assess.assessor={LAMB}"], "assess.assessor"),
        (["train.method=full"], "train.method"),
    ],
)
def test_what_no_server_gives_is_refused_without_asking(overrides: list[str], where: str) -> None:
    found = refusal(recipe_at("http://127.0.0.1:9", *overrides))
    assert (found.where, "engine.name openai" in found.what) == (where, True)


def test_nobody_there() -> None:
    assert refusal(recipe_at("http://127.0.0.1:9")).where == "engine.server.url http://127.0.0.1:9/v1"


def test_a_server_that_can_everything() -> None:
    with serve(LAMB, Manners(max_model_len=384)) as server:
        findings = [finding for finding in check(recipe_at(server.url)) if finding.what == "server"]
    told = "served, 384 tokens: token ids, stop ids, log-probabilities, adapters"
    assert [(finding.found, finding.warning) for finding in findings] == [(f"{server.url}  {told}", False)]


def test_what_falls_back_is_a_warning() -> None:
    with serve(LAMB, SILENT) as server:
        warned = [finding.found for finding in check(recipe_at(server.url)) if finding.warning]
        written = recipe_at(server.url, "assess.read=generate")
        assert not [finding.found for finding in check(written) if finding.warning]
    assert warned == ["it gives no log-probabilities: assess.read distribution will write its scores and parse them"]


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["select.filters=[threshold, perplexity]"], "select.filters"),
        (["synthesize.shots_drawn=inverse_perplexity"], "synthesize.shots_drawn"),
    ],
)
def test_perplexities_want_log_probabilities(overrides: list[str], where: str) -> None:
    with serve(LAMB, SILENT) as server:
        found = refusal(recipe_at(server.url, *overrides))
    assert (found.where, "needs log-probabilities" in found.what) == (where, True)


def test_adapters_are_wanted_where_a_trained_model_is_asked() -> None:
    with serve(LAMB, Manners(loader=None)) as server:
        assert "does not load adapters" in refusal(recipe_at(server.url)).what
        alone = ["iterations=1", "evaluate.benchmarks=[]", "evaluate.tasks=null"]
        assert check(recipe_at(server.url, *alone))


def test_texts_that_the_server_has_no_room_for() -> None:
    with serve(LAMB, Manners(max_model_len=100)) as server:
        found = refusal(recipe_at(server.url))
    assert (found.where, "the server's 100 tokens" in found.what) == ("synthesize.max_new_tokens", True)
