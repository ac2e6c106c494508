"""SQuAD 2.0 as lm-eval asks it, its answers counted by the official measures without fetching them from the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.tasks.squadv2.task import SQuAD2
from transformers.data.metrics.squad_metrics import compute_exact, compute_f1

MEASURES: dict[str, Callable[[str, str], float]] = {"exact": compute_exact, "f1": compute_f1}
GROUPS: dict[str, tuple[bool, ...]] = {"": (True, False), "HasAns_": (True,), "NoAns_": (False,)}
"""Metric's first part -> whether questions with and without an answer are in it."""

METRICS = tuple(f"{group}{measure}" for group in GROUPS for measure in MEASURES)


class SquadV2(SQuAD2):  # type: ignore[misc]
    """Without `best_exact` and `best_f1`, which choose their threshold by the right answers."""

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float | None]:
        """The best value over the right answers; None where a metric is not about this question."""
        rights = [text for text in doc["answers"]["text"] if text.strip()]
        values = {
            name: max(measure(right, results[0]) for right in rights or [""]) for name, measure in MEASURES.items()
        }
        return {
            f"{group}{name}": float(value) if bool(rights) in kinds else None
            for group, kinds in GROUPS.items()
            for name, value in values.items()
        }

    def aggregation(self) -> dict[str, Callable[[Sequence[float | None]], float | None]]:
        """The mean of what could be told."""
        return dict.fromkeys(METRICS, mean)

    def higher_is_better(self) -> dict[str, bool]:
        """All of them are."""
        return dict.fromkeys(METRICS, True)


def mean(values: Sequence[float | None]) -> float | None:
    """None over nothing."""
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None
