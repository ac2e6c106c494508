"""docs/reproduction.md: findings, tables and figures from the runs of `reproduction.py`; nothing is written by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version

from reproduction_evidence import BENCHMARK, METRICS, OURS, Evidence, Place
from reproduction_findings import findings, sentence, signed, threshold_rows, together, verdict

from isheep.intervals import UNKNOWN, Interval, score, student
from isheep.recipe import Recipe, load_recipe

HEAD = """\
# Reproduction: the paper's tables and figures in miniature

`{command}`
runs every row and writes this document whole, the verdicts too: nothing in it is written by hand. The same command goes
on where it was stopped; over finished runs it only writes.

lamb is a base model of a million parameters in a small world of its own. It can show whether the paper's comparisons
come out the same way, not the paper's numbers. What stands for what:
"""

READING = """
**How to read it.** Scores are means over all seeds and prompts, with a 95% interval for other seeds and other prompts
(`isheep.intervals.mean_over_runs`; for other prompts alone where there is but one seed); n counts both. A difference
is paired, seed by seed and prompt by prompt. lamb *agrees* with a finding if every difference that the finding claims
lies above zero with its whole interval, *disagrees* if one of them lies below, and otherwise *cannot tell*. What is
not about single iterations is decided by the last one. Where nothing else is said, a score is the strict one by prompt
(P-S). Pairs kept are means over the seeds.

isheep {isheep}, lamb's weights {weights}, seeds {seeds}. Runs share what is equal in them: of {stages:,} stages
{made:,} were made, the others linked."""

SETTINGS = (OURS, "one-last", "total-base", "direct-2x", "direct-3x")
FILTERS = (OURS, "prompt-simple", "prompt-icl", "filter-perplexity", "filter-density", "filter-density-perplexity")
LEVELS = ("assess-none", "assess-quality", "assess-following", OURS)


def document(evidence: Evidence, only: Sequence[str] | None = None) -> str:
    """The document whole; `only` are the rows that were asked for where it is not all of them."""
    recipe = load_recipe("lamb", evidence.settings)
    sections = (
        introduction(evidence, recipe, only),
        found(evidence),
        methods(evidence),
        comparison(
            evidence,
            "Table 3: iterative settings",
            "What trains what. ours is one_base; direct is compared with the iteration until which as much was made.",
            SETTINGS,
        ),
        comparison(
            evidence,
            "Table 4: filters",
            "What decides which pairs are trained on. ours is scores by the combined standard, for which the\n"
            "threshold was chosen; those of another standard may lie elsewhere.",
            FILTERS,
        ),
        comparison(
            evidence, "Table 4: levels", "Which scores are asked for and have to be over the threshold.", LEVELS
        ),
        comparison(
            evidence,
            "Figure 2a: thresholds",
            f"ours is {recipe.select.threshold:g}. At 0 the rules alone decide, at -1 not even they do.",
            tuple(threshold_rows(evidence)),
        ),
        comparison(
            evidence, "Figure 2b: data sizes", f"Pairs an iteration. ours is {recipe.size:,}.", size_rows(evidence)
        ),
        high_quality(evidence, recipe),
        commands(evidence),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def introduction(evidence: Evidence, recipe: Recipe, only: Sequence[str] | None) -> Iterator[str]:
    """What this is, how it is scaled, how to read it."""
    seeds = " ".join(map(str, evidence.seeds))
    rows = f" --rows {' '.join(only)}" if only else ""
    settings = "".join(f" {word}" for word in evidence.settings)
    stages, made = evidence.stages()
    yield HEAD.format(command=f"python benchmarks/reproduction.py{settings} --dir DIR --seeds {seeds}{rows}")
    yield from grid(["", "the paper", "here"], scale(recipe, load_recipe("paper", ["model.path=none"]), evidence))
    yield READING.format(
        isheep=version("isheep"), weights=evidence.weights(), seeds=", ".join(seeds.split()), stages=stages, made=made
    )


def scale(recipe: Recipe, paper: Recipe, evidence: Evidence) -> list[list[str]]:
    """What of the paper's stands for what, from the two recipes."""

    def effort(one: Recipe) -> str:
        return f"{one.train.steps} steps" if one.train.steps else f"{one.train.epochs:g} epochs"

    def reading(one: Recipe) -> str:
        return "written" if one.assess.read == "generate" else "read from the distribution"

    measured = evidence.score((OURS, 0)) if OURS in evidence.variants else None
    prompts = f", {measured.n // len(evidence.seeds):,} prompts" if measured else ""
    return [
        ["pairs made in an iteration", f"{paper.size:,}", f"{recipe.size:,} (1 for {paper.size / recipe.size:.3g})"],
        ["threshold", f"{paper.select.threshold:g}", f"{recipe.select.threshold:g}"],
        ["most pairs trained on", f"{paper.select.cap:,}", f"{recipe.select.cap:,}"],
        ["training", effort(paper), f"{effort(recipe)} in each iteration"],
        ["iterations", "2 to 5", str(recipe.iterations)],
        ["clusters of the density filter", f"{paper.select.density.clusters:,}", f"{recipe.select.density.clusters:,}"],
        ["the judge is", judge(paper), judge(recipe)],
        ["scores are", reading(paper), reading(recipe)],
        ["benchmark", "IFEval", f"`{BENCHMARK}`{prompts}, IFEval's four metrics, checked by rule"],
    ]  # fmt: skip


def judge(recipe: Recipe) -> str:
    """Who gives the scores, in words."""
    known = {"current": "the model that wrote the pairs", "base": "the base", "random": "chance"}
    return known.get(recipe.assess.assessor, recipe.assess.assessor)


def found(evidence: Evidence) -> Iterator[str]:
    """Every finding of the paper with its verdict."""
    all_of_them = findings(evidence)
    measured = [one.found for finding in all_of_them for one in finding.measured]
    count = sum(one is not None and one.low is not None for one in measured)
    words = Counter(together([verdict(one.found) for one in finding.measured]) for finding in all_of_them)
    yield "## The paper's findings"
    yield ""
    yield f"Of {len(all_of_them)}, lamb agrees with {words['agrees']}, disagrees with {words['disagrees']}, and cannot"
    yield f"tell of {words['cannot tell']}."
    yield ""
    for place, finding in enumerate(all_of_them, start=1):
        yield f"{place}. {sentence(finding)}"
    yield ""
    yield f"These are {count} differences with 95% intervals. Of as many between equals some {count * 0.05:.1f} would"
    yield "look like differences."


def methods(evidence: Evidence) -> Iterator[str]:
    """Table 2: all four metrics of each method, and of each iteration of ours."""
    places = [(OURS, 0), ("self-instruct", 1), ("dromedary", 1)]
    places += [(OURS, number) for number in range(1, evidence.iterations(OURS) + 1)]
    yield "## Table 2: methods"
    yield ""
    yield "P, I: by prompt, by instruction; S, L: strict, loose. The base is iteration 0 of every run."
    yield ""
    columns = {
        head: {place: evidence.score(place, (BENCHMARK, metric)) for place in places}
        for head, metric in METRICS.items()
    }
    heads = [f"{head}{numbers(list(column.values()))}" for head, column in columns.items()]
    rows = []
    for place in places:
        if place[0] in evidence.rows:
            cells = [cell(evidence, place, column[place]) for column in columns.values()]
            label = "base" if place == (OURS, 0) else evidence.rows[place[0]].label
            label += f", iteration {place[1]}" if place[0] == OURS and place[1] else ""
            kept = evidence.kept(place[0])[: place[1]][-1:]
            rows.append([label, *(f"{count:.0f}" for count in kept or []), *([] if kept else [UNKNOWN]), *cells])
    yield from grid(["method", "pairs kept", *heads], rows)


def comparison(evidence: Evidence, title: str, about: str, names: Sequence[str]) -> Iterator[str]:
    """Rows beside ours: pairs kept, the score of every iteration, and what ours has more."""
    here = [name for name in names if name in evidence.rows]
    last = max((evidence.iterations(name) for name in here), default=0)
    scores = {(name, number): evidence.score((name, number)) for name in here for number in range(1, last + 1)}
    yield f"## {title}"
    yield ""
    yield about
    yield ""
    rows = [
        [
            evidence.rows[name].label,
            ", ".join(f"{count:.0f}" for count in evidence.kept(name)),
            *(cell(evidence, (name, number), scores[name, number]) for number in range(1, last + 1)),
            beside_ours(evidence, name),
        ]
        for name in here
    ]
    heads = [f"iteration {number}{numbers([scores[name, number] for name in here])}" for number in range(1, last + 1)]
    yield from grid(["row", "pairs kept, by iteration", *heads, "ours - row"], rows)


def beside_ours(evidence: Evidence, name: str) -> str:
    """What ours has more than a row, after its first and after its last iteration."""
    if name == OURS:
        return ""
    count = evidence.iterations(name)
    places: list[tuple[Place, Place]] = [((OURS, number), (name, number)) for number in sorted({1, count})]
    if name.startswith("direct-"):
        # By then ours has made as many pairs.
        places = [((OURS, int(name.removeprefix("direct-")[:-1])), (name, 1))]
    lines = []
    for more, less in places:
        difference = evidence.difference(more, less)
        if difference is not None:
            lines.append(f"iteration {more[1]}: {signed(difference)}")
    return "<br>".join(lines) or UNKNOWN


def size_rows(evidence: Evidence) -> tuple[str, ...]:
    """Names of the rows of figure 2b, the smallest first."""
    found = {name: row.at for name, row in evidence.rows.items() if name.startswith("size-")}
    return tuple(sorted({**found, OURS: 1.0}, key=lambda name: found.get(name, 1.0)))


def high_quality(evidence: Evidence, recipe: Recipe) -> Iterator[str]:
    """Figure 3: the share of pairs that the judge finds good, iteration by iteration."""
    yield "## Figure 3: the share of pairs with both scores over the threshold"
    yield ""
    yield f"Of the pairs that the rules left; the judge is {judge(recipe)}. The interval is Student's over the seeds,"
    yield "whose pairs have nothing in common."
    yield ""
    rows = []
    for number in range(1, evidence.iterations(OURS) + 1):
        shares = evidence.shares(OURS, number)
        told = [UNKNOWN, UNKNOWN] if shares is None else [shown(student(shares)), ", ".join(f"{x:.3f}" for x in shares)]
        rows.append([str(number), *told])
    yield from grid(["iteration", "share", f"with seed {', '.join(map(str, evidence.seeds))}"], rows)


def commands(evidence: Evidence) -> Iterator[str]:
    """The command of each row."""
    yield "## The commands"
    yield ""
    yield f"`SEED` is {' or '.join(map(str, evidence.seeds))}. Runs share what is equal in them where a file"
    yield "`sweep.json` lies in `DIR`."
    yield ""
    rows = []
    for row in evidence.rows.values():
        words = " ".join((*evidence.settings, *row.settings, "seed=SEED"))
        rows.append([row.label, f"`isheep run lamb {words} --dir DIR/{row.name}-SEED`"])
    yield from grid(["row", "command"], rows)


def cell(evidence: Evidence, place: Place, value: Interval | None) -> str:
    """A score, or why there is none."""
    return shown(value) if value is not None else evidence.why_not(place) or UNKNOWN


def shown(value: Interval) -> str:
    """A figure with its interval, as everywhere else."""
    return score(asdict(value))


def numbers(values: Sequence[Interval | None]) -> str:
    """` (n = 6,000)`, of how many observations each figure of a table is the mean; empty without figures."""
    counts = sorted({value.n for value in values if value is not None})
    return f" (n = {' or '.join(f'{count:,}' for count in counts)})" if counts else ""


def grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
