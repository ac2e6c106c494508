"""The pool's answers are those of rouge_score itself, bit for bit: figure, nearest text and decision."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import scoring
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from isheep.filters import Drop, novelty
from isheep.filters.compiled import CompiledPool
from isheep.filters.novelty import Match, Novelty, PlainPool, Pool
from isheep.filters.rouge import rouge_tokens, word_tokens

LIMIT = 0.7
KINDS: list[type[Pool]] = [PlainPool, CompiledPool]
SCORER = RougeScorer(["rougeL"], use_stemmer=False)
WORDS = st.lists(st.sampled_from(["a", "b", "c", "D", "e1", "-", "é"]), max_size=12).map(" ".join)
TRAPS = [
    (m, n, 7 * (m + n) // 20)
    for m in range(1, 201)
    for n in range(1, 201)
    if 7 * (m + n) % 20 == 0 and 7 * (m + n) // 20 <= min(m, n)
]
"""Lengths and common counts at which the F-measure is 0.7 by arithmetic."""


def reference(pool: list[str], text: str) -> list[float]:
    return [float(SCORER.score(other, text)["rougeL"].fmeasure) for other in pool]


def pool_of(texts: list[str], kind: type[Pool] = PlainPool) -> Novelty:
    pool = Novelty(LIMIT, pool=kind())
    for place, text in enumerate(texts):
        pool.add(str(place), text)
    return pool


def check_against_reference(texts: list[str], text: str) -> None:
    figures = reference(texts, text)
    comparable = [place for place, other in enumerate(texts) if rouge_tokens(other)]
    for kind in KINDS:
        pool = pool_of(texts, kind)
        found = pool.nearest(text)
        assert pool.is_near(text) == any(figure > LIMIT for figure in figures)
        if not rouge_tokens(text) or not comparable:
            assert found is None
            continue
        best = max(figures[place] for place in comparable)
        first = next(place for place in comparable if figures[place] == best)
        assert found == Match(best, str(first))
        assert (pool.verdict(found) is not None) == pool.is_near(text)


@settings(max_examples=400, deadline=None)
@given(st.text())
def test_rouge_tokens_are_the_references(text: str) -> None:
    assert rouge_tokens(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=8), WORDS)
def test_nearest_equals_the_reference(texts: list[str], text: str) -> None:
    check_against_reference(texts, text)


@pytest.mark.parametrize("seed", range(3))
def test_nearest_equals_the_reference_in_a_large_pool(seed: int) -> None:
    draw = random.Random(seed)
    vocabulary = [f"w{int(draw.expovariate(0.1))}" for _ in range(200)]
    texts = [" ".join(draw.choices(vocabulary, k=draw.randint(1, 14))) for _ in range(1500)]
    for text in texts[:12]:
        check_against_reference(texts[12:], text)


def test_nearest_equals_the_reference_where_every_bound_is_the_same() -> None:
    texts = [" ".join(order) for order in itertools.permutations("abcdef")]  # as bags of words all alike
    for text in ["b d f a c e", "a b c d e f g", "f a"]:
        check_against_reference(texts, text)


def test_nearest_equals_the_reference_past_the_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_CODE_POINTS", 4)  # so that strings and lists of codes are compared with each other
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefg", k=draw.randint(1, 9))) for _ in range(300)]
    for text in ["a b c", "c b a a", "e f g a b", "x y z a", "x"]:
        check_against_reference(texts, text)


@pytest.mark.parametrize("kind", KINDS)
def test_traps_are_decided_as_the_reference_decides(kind: type[Pool]) -> None:
    assert len(TRAPS) == 940
    above = 0
    for m, n, common in TRAPS:
        shared = [f"s{i}" for i in range(common)]
        pool = Novelty(LIMIT, pool=kind())
        pool.add("x", " ".join(shared + [f"x{i}" for i in range(m - common)]))
        found = pool.nearest(" ".join([f"y{i}" for i in range(n - common)] + shared))
        expected = scoring.fmeasure(common / n, common / m)
        assert found == Match(expected, "x")
        assert (pool.verdict(found) is None) == (expected <= LIMIT)
        assert pool.is_near(" ".join([f"y{i}" for i in range(n - common)] + shared)) == (expected > LIMIT)
        above += expected > LIMIT
    assert above == 434


def test_a_trap_against_the_scorer_itself() -> None:
    low, high = (next(t for t in TRAPS if (scoring.fmeasure(t[2] / t[1], t[2] / t[0]) > LIMIT) == up) for up in (0, 1))
    for m, n, common in (low, high):
        shared = [f"s{i}" for i in range(common)]
        check_against_reference(
            [" ".join(shared + [f"x{i}" for i in range(m - common)])],
            " ".join(shared + [f"y{i}" for i in range(n - common)]),
        )


@pytest.mark.parametrize("seed", range(3))
def test_both_pools_answer_alike_on_texts_of_every_length(seed: int) -> None:
    """Up to some 150 words, as the rules let through: the compiled pool then works with several machine words."""
    draw = random.Random(seed)
    vocabulary = [f"w{int(draw.expovariate(0.03))}" for _ in range(300)]
    pools = [Novelty(LIMIT, pool=kind()) for kind in KINDS]
    near = 0
    for number in range(1500):
        text = draw.choices(vocabulary, k=draw.choice([1, 5, 12, 63, 64, 65, 128, 150]))
        for edits in range(draw.choice([0, 0, 1, 3])):
            text[draw.randrange(len(text))] = f"e{edits}"
        found = [pool.nearest(" ".join(text)) for pool in pools]
        decided = [pool.is_near(" ".join(text)) for pool in pools]
        assert found[0] == found[1]
        assert decided[0] == decided[1] == (found[0] is not None and found[0].f > LIMIT)
        near += decided[0]
        draw.shuffle(text) if number % 3 else text.reverse()
        for pool in pools:
            pool.add(str(number), " ".join(text))
    assert 10 < near < 1490


def test_numba_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(novelty.new_pool(), CompiledPool)
    monkeypatch.setattr(novelty, "find_spec", lambda name: None)
    assert isinstance(novelty.new_pool(), PlainPool)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Name THREE fruits!", ["name", "three", "fruits"]),
        ("Où est l'été?", ["où", "est", "l", "été"]),
        ("Как дела, друг", ["как", "дела", "друг"]),
        ("写一首诗 about 海", ["写", "一", "首", "诗", "about", "海"]),
        ("हिन्दी में लिखो", ["हिन्दी", "में", "लिखो"]),
        ("한국어로 써라", ["한국어로", "써라"]),
        ("...", []),
    ],
)
def test_words_of_any_script(text: str, words: list[str]) -> None:
    assert word_tokens(text) == words


def test_the_tokenizer_decides_what_is_seen() -> None:
    for tokenizer, near in (("rouge", False), ("words", True)):
        pool = Novelty(LIMIT, tokenizer)  # type: ignore[arg-type]
        pool.add("a", "写一首关于大海的诗")
        assert pool.is_near("写一首关于大海的歌") == near


def test_golden_figure_and_reason() -> None:
    pool = pool_of(["Name three ripe fruits.", "Write a poem about the sea."])
    found = pool.nearest("Write a short poem about the SEA!")
    assert found == Match(2 * (6 / 7) * 1.0 / (6 / 7 + 1.0), "1")
    assert pool.verdict(found) == Drop("not_novel", "ROUGE-L 0.923 with 1, more than 0.7")


def test_order_counts() -> None:
    pool = pool_of(["a b c d"])
    assert pool.nearest("d c b a") == Match(0.25, "0")


def test_the_earliest_of_equals_is_named() -> None:
    pool = pool_of(["x y", "b c", "a b", "a b"])
    assert pool.nearest("A, b.") == Match(1.0, "2")
    assert pool.nearest("b") == Match(2 * 1.0 * 0.5 / 1.5, "1")


def test_what_has_no_tokens_is_near_to_nothing() -> None:
    pool = Novelty(LIMIT)
    assert pool.nearest("one two") is None
    pool.add("chinese", "北京")
    assert len(pool) == 0
    assert pool.nearest("one two") is None
    pool.add("a", "three")
    assert pool.nearest("?") is None
    assert pool.verdict(None) is None
    assert pool.nearest("one two") == Match(0.0, "a")


def test_limit_is_exclusive() -> None:
    pool = Novelty(1.0)
    pool.add("a", "one two")
    assert pool.verdict(pool.nearest("one two")) is None
