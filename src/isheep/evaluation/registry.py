"""Which module measures a benchmark's name; nothing is imported that the name does not need."""

from __future__ import annotations

from collections.abc import Sequence

from isheep.evaluation.base import Benchmark
from isheep.plugins import installed
from isheep.recipe import Recipe

CODE = ("humaneval", "humaneval_plus", "mbpp", "mbpp_plus")
MT_BENCH, ALPACA_EVAL = "mt_bench", "alpaca_eval"


METRICS_OF_OURS: dict[str, dict[str, bool]] = {
    **{name: {"pass@1": True} for name in CODE},
    MT_BENCH: {"rating": True, "rating_turn_1": True, "rating_turn_2": True, "unparsed": False},
    ALPACA_EVAL: {"win_rate": True, "length_controlled_win_rate": True, "avg_length": True, "unparsed": False},
}
"""Of benchmarks that are not lm-eval's: metric -> whether higher is better."""


def open_benchmark(name: str, recipe: Recipe) -> Benchmark:
    """The benchmark of that name, nothing loaded yet: one of ours, a plug-in's, else lm-eval's."""
    if name in CODE:
        from isheep.evaluation.code import CodeBenchmark

        return CodeBenchmark(name, recipe)
    if name == MT_BENCH:
        from isheep.evaluation.mt_bench import MtBench

        return MtBench(recipe)
    if name == ALPACA_EVAL:
        from isheep.evaluation.alpaca import AlpacaEval

        return AlpacaEval(recipe)
    if name in installed("benchmarks"):
        from isheep.evaluation.plugged import PluggedBenchmark

        return PluggedBenchmark(name, recipe)
    from isheep.evaluation.lm_eval_task import LmEvalTask

    return LmEvalTask(name, recipe.evaluate)


def prepared(names: Sequence[str], recipe: Recipe) -> dict[str, Benchmark]:
    """The benchmarks of these names, each with all that it needs.

    Raises:
        UserError: something is missing.
    """
    benchmarks = {name: open_benchmark(name, recipe) for name in names}
    for benchmark in benchmarks.values():
        benchmark.prepare()
    return benchmarks
