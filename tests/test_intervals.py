"""Golden numbers: closed forms, published values, and the bootstrap against what it must approach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isheep import intervals
from isheep.intervals import Interval, auroc, mean_interval, mean_over_runs, paired_bootstrap, score, student, wilson

SCORES = st.lists(st.integers(1, 4), max_size=8)


@pytest.mark.parametrize(
    ("successes", "n", "value", "low", "high"),
    [
        (15, 20, 0.75, 0.531299, 0.888138),
        (327, 400, 0.8175, 0.776687, 0.852273),
        (0, 10, 0.0, 0.0, 0.277533),
        (10, 10, 1.0, 0.722467, 1.0),
        (1, 1, 1.0, 0.206549, 1.0),
    ],
)
def test_wilson(successes: int, n: int, value: float, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.value == value
    assert interval.low == pytest.approx(low, abs=1e-6)
    assert interval.high == pytest.approx(high, abs=1e-6)
    assert interval.n == n


def test_wilson_is_exact_at_the_ends() -> None:
    for n in range(1, 300):
        assert wilson(0, n).low == 0.0
        assert wilson(n, n).high == 1.0


def test_wilson_refuses_what_is_no_share() -> None:
    for successes, n in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match=f"{successes} successes of {n}"):
            wilson(successes, n)


def test_over_nothing_there_is_no_value() -> None:
    nothing = Interval(None, None, None, 0)
    assert wilson(0, 0) == nothing
    assert mean_interval([], seed=0) == nothing
    assert paired_bootstrap([], [], seed=0) == nothing
    assert auroc([], [1.0]) is None
    assert auroc([1.0], []) is None


def test_mean_of_zeros_and_ones_is_a_share() -> None:
    assert mean_interval([1, 0, 1.0, True], seed=0) == wilson(3, 4)


def test_mean_interval_approaches_the_normal_one() -> None:
    values = np.random.default_rng(7).normal(5, 2, size=400).tolist()
    interval = mean_interval(values, seed=1)
    error = 1.96 * np.std(values) / math.sqrt(400)
    assert interval.value == pytest.approx(np.mean(values), abs=1e-12)
    assert interval.low == pytest.approx(np.mean(values) - error, abs=0.02)
    assert interval.high == pytest.approx(np.mean(values) + error, abs=0.02)
    assert interval.n == 400


def test_bootstrap_is_seeded() -> None:
    values = [0.5, 1, 2, 7, 9.25, 3]
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)
    assert mean_interval(values, seed=3, draws=100) != mean_interval(values, seed=3)
    assert mean_interval([0.5], seed=0) == Interval(0.5, 0.5, 0.5, 1)


def test_bootstrap_of_a_known_distribution() -> None:
    # Resampled means of (0, 3) are 0, 1.5 and 3 with probabilities 1/4, 1/2, 1/4.
    assert mean_interval([0, 3], seed=0) == Interval(1.5, 0.0, 3.0, 2)
    # Of ten values of which one is 10, a share .9 ** 10 = .349 of the draws has none, .9872 at most three.
    assert mean_interval([10.0] + [0.0] * 9, seed=0) == Interval(1.0, 0.0, 3.0, 10)


def test_bootstrap_in_pieces_draws_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "_INDICES_AT_ONCE", 7)
    assert mean_interval([10.0] + [0.0] * 9, seed=0, draws=3001) == Interval(1.0, 0.0, 3.0, 10)


def test_paired_bootstrap_pairs() -> None:
    before, after = [float(i) for i in range(100)], [i + 0.5 for i in range(100)]
    assert paired_bootstrap(before, after, seed=0) == Interval(0.5, 0.5, 0.5, 100)
    assert paired_bootstrap(after, before, seed=0) == Interval(-0.5, -0.5, -0.5, 100)


def test_paired_bootstrap_of_shares() -> None:
    before, after = [0] * 60 + [1] * 40, [1] * 20 + [0] * 40 + [1] * 40
    interval = paired_bootstrap(before, after, seed=0)
    error = 1.96 * math.sqrt(0.2 * 0.8 / 100)
    assert interval.value == pytest.approx(0.2, abs=1e-12)
    assert interval.low == pytest.approx(0.2 - error, abs=0.015)
    assert interval.high == pytest.approx(0.2 + error, abs=0.015)


def test_paired_bootstrap_refuses_other_lengths() -> None:
    with pytest.raises(ValueError, match="1 values before, 2 after: they are not pairs"):
        paired_bootstrap([1], [1, 2], seed=0)


def test_student() -> None:
    # By hand: mean 2, deviation 1, and 4.302653 is the 97.5% point for two degrees of freedom.
    found = student([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert student([0.5]) == Interval(0.5, None, None, 1)
    assert student([]) == Interval(None, None, None, 0)


def test_auroc() -> None:
    assert auroc([3, 4], [1, 2]) == 1.0
    assert auroc([1, 2], [3, 4]) == 0.0
    assert auroc([5, 5], [5]) == 0.5
    assert auroc([2, 3], [1, 2, 2]) == 5 / 6


@given(SCORES, SCORES)
def test_auroc_counts_every_pair(positives: list[int], negatives: list[int]) -> None:
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    pairs = len(positives) * len(negatives)
    assert auroc(positives, negatives) == (wins / pairs if pairs else None)


def test_over_runs_that_agree_only_the_items_count() -> None:
    values = [float(n % 4 == 0) for n in range(400)]
    interval = mean_over_runs([values, values, values])
    assert interval.value == 0.25
    assert interval.n == 1200
    assert interval.low is not None
    half = 1.965927 * math.sqrt(0.25 * 0.75 / 399)
    assert interval.value - interval.low == pytest.approx(half, rel=1e-5)


def test_over_items_that_agree_it_is_student_s_interval_over_runs() -> None:
    interval = mean_over_runs([[1.0] * 50, [2.0] * 50, [6.0] * 50])
    # Mean 3, standard deviation of the runs the square root of 7, two degrees of freedom.
    assert interval.value == 3
    assert interval.low == pytest.approx(3 - 4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert interval.high == pytest.approx(3 + 4.302653 * math.sqrt(7 / 3), rel=1e-6)


@pytest.mark.parametrize(("of_runs", "of_items", "rest"), [(0.0, 0.0, 0.5), (0.0, 0.5, 0.3), (0.05, 0.1, 0.3)])
@pytest.mark.parametrize("runs", [3, 5])
def test_over_few_runs_the_interval_holds_the_truth_as_often_as_it_says(
    runs: int, of_runs: float, of_items: float, rest: float
) -> None:
    generator = np.random.default_rng(0)
    held, trials, items = 0, 400, 100
    for _ in range(trials):
        table = (
            generator.normal(0, of_runs, (runs, 1))
            + generator.normal(0, of_items, (1, items))
            + generator.normal(0, rest, (runs, items))
        )
        interval = mean_over_runs(table.tolist())
        assert interval.low is not None
        assert interval.high is not None
        held += interval.low <= 0 <= interval.high
    assert held / trials >= 0.91


def test_over_runs_the_edges() -> None:
    assert mean_over_runs([[], []]) == Interval(None, None, None, 0)
    assert mean_over_runs([[1.0], [3.0]]) == Interval(2.0, None, None, 2)
    assert mean_over_runs([[1.0, 1.0], [1.0, 1.0]]) == Interval(1.0, 1.0, 1.0, 4)
    for wrong in ([], [[1.0, 2.0]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(ValueError, match="not several runs on the same items"):
            mean_over_runs(wrong)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"value": 0.801, "low": 0.769, "high": 0.83, "n": 400}, ".801 [.769, .830]"),
        ({"value": 1.0, "low": 0.99, "high": 1.0, "n": 400}, "1.000 [.990, 1.000]"),
        ({"value": 0.99996, "low": None, "high": None, "n": 1}, "1.000"),
        ({"value": 0.0, "low": -0.05, "high": 0.05, "n": 9}, ".000 [-.050, .050]"),
        ({"value": 10.05, "low": 10.0, "high": 20.0, "n": 9}, "10.050 [10.000, 20.000]"),
        ({"value": None, "low": None, "high": None, "n": 0}, "-"),
        (None, "-"),
    ],
)
def test_a_score_with_its_interval_in_words(value: dict[str, Any] | None, expected: str) -> None:
    assert score(value) == expected
