"""The tab of the records: filters, a page of the list, the life of the one that was chosen, and its hand mark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from isheep.errors import IsheepError
from isheep.intervals import UNKNOWN
from isheep.stages.scores import SCORES
from isheep.store.marks import Kind, Mark, add_mark
from isheep.terminal import printable
from isheep.workbench import views
from isheep.workbench.catalog import PAGE, SORTS, STAGES, Query, Range, Row
from isheep.workbench.opened import Opened

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# What is chosen while the answer to an earlier choice is under way counts; by default it would be passed over. Answers
# of one part of the page come in the order in which they were asked for: the same `concurrency_id`, one at a time.
LATEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
LIST: dict[str, Any] = {**LATEST, "concurrency_id": "list"}
LIFE: dict[str, Any] = {**LATEST, "concurrency_id": "life"}
SHORT, LONGEST = 160, 1000
"""Characters of a text in the list, and of one that is searched for."""
ALL = "all"
KINDS: dict[str, Kind] = {"good": "good", "bad": "bad"}
HEAD = ("id", "iteration", "outcome", "quality", "following", "mark", "instruction", "response")
WIDTHS = ("175px", "96px", "130px", "84px", "98px", "70px", "300px", "250px")

Runs = Mapping[str, Opened]


def records_tab(tab: gr.Tab, runs: Runs) -> None:
    """Builds the tab."""
    names = list(runs)
    with gr.Row():
        run = gr.Dropdown(names, value=names[0], label="Run", filterable=False)
        text = gr.Textbox(label="Search (instruction, input, response)", scale=2, max_lines=1, elem_id="search")
    with gr.Row():
        iteration = gr.Dropdown([ALL], value=ALL, label="Iteration", filterable=False, min_width=110)
        stage = gr.Dropdown([ALL, *STAGES], value=ALL, label="Came as far as", filterable=False, min_width=130)
        outcome = gr.Dropdown([ALL, "kept", "dropped", "open"], value=ALL, label="Outcome", min_width=110)
        rule = gr.Dropdown([ALL], value=ALL, label="Dropped by", filterable=False, min_width=140, elem_id="rule")
        mark = gr.Dropdown([ALL, "good", "bad", "note", "any", "none"], value=ALL, label="Hand mark", min_width=110)
        sort = gr.Dropdown(list(SORTS.items()), value="place", label="Sort by", filterable=False, min_width=150)
        falling = gr.Checkbox(label="greatest first", min_width=170)
    with gr.Row():
        ranges = [
            gr.Number(value, label=f"{name}, {end}", minimum=1, maximum=10, step=0.5, min_width=110)
            for name in ("Quality", "Following")
            for end, value in (("least", SCORES[0]), ("most", SCORES[-1]))
        ]
    number = gr.State(0)
    told = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="found")
    with gr.Row(equal_height=True):
        before = gr.Button("Previous page", size="sm", min_width=110)
        after = gr.Button("Next page", size="sm", min_width=110)
    table = gr.Dataframe(
        headers=list(HEAD),
        datatype="str",
        interactive=False,
        column_widths=list(WIDTHS),
        max_height=430,
        label="Records (choose one to see its life)",
        buttons=[],
        elem_id="records",
    )
    controls = [run, iteration, stage, outcome, rule, mark, sort, falling, *ranges, text]
    outputs = [table, told, number, iteration, rule]

    def find(page: int, step: int, *values: Any) -> list[Any]:
        return _found(runs, page + step, values)

    def first(*values: Any) -> list[Any]:
        return _found(runs, 0, values)

    for event in (tab.select, *(one.input for one in controls[1:-1]), text.submit):
        event(first, controls, outputs, **LIST)
    for button, step in ((before, -1), (after, 1)):
        button.click(lambda page, *values, by=step: find(page, by, *values), [number, *controls], outputs, **LIST)
    saved, life = _life(runs, run, table)
    # So that the list shows the new mark.
    saved.then(lambda page, *values: find(page, 0, *values), [number, *controls], outputs, **LIST)
    # With the list of another run, in one answer, since what is chosen from it must not be cleared any more.
    run.input(lambda *values: [*first(*values), *life.values()], controls, [*outputs, *life], **LIST)


def _life(runs: Runs, run: Any, table: Any) -> tuple[Any, dict[Any, str]]:
    """What lies below the list: the chosen record on the left, its mark and the agreement of all marks on the right.

    Returns:
        The event of a mark that was saved, and what shows a record with the values that show none.
    """
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            chosen = gr.Textbox(label="Record (its id)", max_lines=1, elem_id="chosen")
            view = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="life")
            prompts = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="prompts")
        with gr.Column(scale=1, min_width=260):
            mark = gr.Radio(["good", "bad", "none"], value="none", label="Hand mark")
            note = gr.Textbox(label="Note", lines=2, max_lines=8)
            save = gr.Button("Save the mark", variant="primary")
            told = gr.HTML(js_on_load=None, apply_default_css=False)
            count = gr.Button("Do marks and scores agree?", size="sm")
            agreement = gr.HTML(js_on_load=None, apply_default_css=False, elem_id="agreement")

    def choose(name: str, event: gr.SelectData) -> list[Any]:
        return show(name, str(event.row_value[0]) if event.row_value else "")

    def show(name: str, id_: str) -> list[Any]:
        try:
            found = runs[name].marks().get(id_.strip())
            shown = views.record(runs[name], id_.strip()) if id_.strip() else ""
        except (IsheepError, OSError) as error:
            found, shown = None, views.problem(views.said(error))
        kind = found.mark if found and found.mark else "none"
        return [id_, shown, kind, found.note if found else "", ""]

    def built(name: str, id_: str) -> str:
        try:
            return views.prompts(runs[name], id_.strip())
        except (IsheepError, OSError) as error:
            return views.problem(views.said(error))

    def keep(name: str, id_: str, kind: str, remark: str) -> list[Any]:
        try:
            if runs[name].catalog.of_ids([id_.strip()]):
                add_mark(runs[name].directory, id_.strip(), KINDS.get(kind), remark or "")
                return [*show(name, id_)[:4], views.note("Saved."), compared(name)]
            said = "Choose a record first."
        except (IsheepError, OSError) as error:
            said = views.said(error)
        return [id_, gr.skip(), kind, remark, views.problem(said), gr.skip()]

    def compared(name: str) -> str:
        try:
            return views.marks(runs[name])
        except (IsheepError, OSError) as error:
            return views.problem(views.said(error))

    outputs = [chosen, view, mark, note, told]
    # The prompts come behind: to build them again the tokenizer is read, which takes its time once.
    for shown in (table.select(choose, run, outputs, **LIFE), chosen.submit(show, [run, chosen], outputs, **LIFE)):
        shown.then(built, [run, chosen], prompts, **QUIET)
    count.click(compared, run, agreement, **LIFE)
    saved = save.click(keep, [run, chosen, mark, note], [*outputs, agreement], **{**QUIET, "concurrency_id": "life"})
    return saved, {**dict.fromkeys([*outputs, agreement, prompts], ""), mark: "none"}


def _found(runs: Runs, page: int, values: tuple[Any, ...]) -> list[Any]:
    """A page of the list and all that depends on what there is: the choices of iterations and of rules."""
    name, *given = values
    try:
        one = runs[name]
        catalog, marks = one.catalog, one.marks()
        numbers, rules = catalog.iterations(), catalog.rules()
        query = _query(given, numbers, rules)
        found = catalog.page(query, marks, max(0, page))
        last = max(0, (found.found - 1) // PAGE)
        if page > last:
            page = last
            found = catalog.page(query, marks, page)
    except (IsheepError, OSError) as error:
        return [[], views.problem(views.said(error)), 0, gr.skip(), gr.skip()]
    page = max(0, page)
    line = f"{found.found:,} of {found.of:,} records, page {page + 1} of {last + 1}"
    iterations = gr.Dropdown(choices=[ALL, *map(str, numbers)], value=str(query.iteration or ALL))
    dropped = gr.Dropdown(choices=[ALL, *rules], value=query.rule or ALL)
    return [[_cells(row, marks) for row in found.rows], views.note(line), page, iterations, dropped]


def _query(given: list[Any], numbers: list[int], rules: list[str]) -> Query:
    iteration, stage, outcome, rule, mark, sort, falling, least, most, lowest, highest, text = given
    return Query(
        iteration=int(iteration) if iteration in map(str, numbers) else None,
        stage=None if stage == ALL else stage,
        outcome=None if outcome == ALL else outcome,
        rule=rule if rule in rules else None,
        quality=_range(least, most),
        following=_range(lowest, highest),
        mark=None if mark == ALL else mark,
        text=(text or "")[:LONGEST],
        sort=sort,
        descending=bool(falling),
    )


def _range(least: float | None, most: float | None) -> Range:
    """What is outside of the scale or its end filters nothing, so that records without a score are shown, too."""
    return (
        least if least is not None and least > SCORES[0] else None,
        most if most is not None and 0 < most < SCORES[-1] else None,
    )


def _cells(row: Row, marks: Mapping[str, Mark]) -> list[str]:
    outcome = "open" if row.kept is None else "kept" if row.kept else row.dropped_by or "dropped"
    task = f"{row.instruction}\n{row.input}" if row.input else row.instruction
    mark = marks.get(row.id)
    return [
        row.id,
        str(row.iteration),
        printable(outcome),
        UNKNOWN if row.quality is None else f"{row.quality:.3g}",
        UNKNOWN if row.following is None else f"{row.following:.3g}",
        mark.kind if mark else UNKNOWN,
        _short(task),
        UNKNOWN if row.response is None else _short(row.response),
    ]


def _short(text: str) -> str:
    line = printable(" ".join(text[: 4 * SHORT].split()))
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"
