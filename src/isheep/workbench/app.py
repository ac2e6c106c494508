"""The pages of the workbench in gradio: what is asked for in each tab, and which view answers it. No logic here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from isheep.errors import IsheepError
from isheep.workbench import views
from isheep.workbench.opened import Opened
from isheep.workbench.records_tab import LATEST, QUIET, records_tab
from isheep.workbench.talk import LONGEST, Question, Talk, models_of

EVERY_S = 2.0
"""Seconds between two looks at what a run has done."""
LOOK_S = 0.15
"""Seconds between two looks at what is being written in a chat."""

"""What every event of the pages has: no overlay while it works, and no name by which a program could call it."""

Runs = Mapping[str, Opened]


def build(runs: Runs, talk: Talk) -> gr.Blocks:
    """The application over these runs."""
    with gr.Blocks(title="isheep workbench", analytics_enabled=False, fill_width=True) as blocks, gr.Tabs():
        with gr.Tab("Progress"):
            _progress_tab(blocks, runs)
        with gr.Tab("Records") as tab:
            records_tab(tab, runs)
        with gr.Tab("Compare") as tab:
            _compare_tab(tab, runs)
        with gr.Tab("Chat") as tab:
            _chat_tab(tab, runs, talk)
    return blocks


def theme() -> Any:
    """Gradio's own, in the fonts that the system has: nothing is fetched."""
    font = ("system-ui", "-apple-system", "Segoe UI", "sans-serif")
    return gr.themes.Base(primary_hue="blue", font=font, font_mono=("ui-monospace", "monospace"))


def css() -> str:
    """Of our own views."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def shown(view: Callable[[], str]) -> str:
    """The view, or in its place one line that says why there is none."""
    try:
        return view()
    except (IsheepError, OSError) as error:
        return views.problem(views.said(error))


def _html(**settings: Any) -> gr.HTML:
    return gr.HTML(js_on_load=None, apply_default_css=False, **settings)


def _progress_tab(blocks: gr.Blocks, runs: Runs) -> None:
    view = _html()

    def look() -> str:
        return views.progress(list(runs.values()))

    blocks.load(look, outputs=view, **QUIET)
    # One look at a time: a slow one must not pile others up behind it.
    gr.Timer(EVERY_S).tick(look, outputs=view, trigger_mode="once", **QUIET)


def _compare_tab(tab: gr.Tab, runs: Runs) -> None:
    names = list(runs)
    second = names[1] if len(names) > 1 else names[0]
    sides = []
    for label, name in (("first", names[0]), ("second", second)):
        with gr.Row():
            run = gr.Dropdown(names, value=name, label=f"Run, {label}", filterable=False)
            number = gr.Dropdown([], label=f"Iteration, {label}", filterable=False)
            sides += [run, number]
    view = _html()

    def compare(one: str, first: int | None, other: str, second: int | None) -> str:
        if first is None or second is None:
            return views.problem("Choose two iterations.")
        return shown(lambda: views.side_by_side((runs[one], first), (runs[other], second)))

    def choices(one: str, first: int | None, other: str, second: int | None) -> tuple[Any, Any]:
        numbers = [_numbers(runs[name]) for name in (one, other)]
        first = first if first in numbers[0] else (numbers[0][-1] if one != other else 0)
        second = second if second in numbers[1] else numbers[1][-1]
        return _picked(numbers[0], first), _picked(numbers[1], second)

    for event in (tab.select, sides[0].input, sides[2].input):
        event(choices, sides, [sides[1], sides[3]], **LATEST).then(compare, sides, view, **QUIET)
    for number in (sides[1], sides[3]):
        number.input(compare, sides, view, **LATEST)


def _picked(numbers: list[int], value: int) -> Any:
    return gr.Dropdown(choices=[(_called(number), number) for number in numbers], value=value)


def _numbers(one: Opened) -> list[int]:
    """The iterations that have begun; the base always."""
    try:
        return sorted({0, *(iteration.number for iteration in one.run.iterations())})
    except (IsheepError, OSError):
        return [0]


def _called(number: int) -> str:
    return f"iteration {number}" if number else "base"


def _chat_tab(tab: gr.Tab, runs: Runs, talk: Talk) -> None:
    names = list(runs)
    with gr.Row():
        run = gr.Dropdown(names, value=names[0], label="Run", filterable=False, scale=1)
        models = gr.CheckboxGroup([], label="Models", scale=2)
    with gr.Row():
        instruction = gr.Textbox(label="Instruction", lines=3, max_lines=12, scale=2)
        input_ = gr.Textbox(label="Input (what it is done to, or nothing)", lines=3, max_lines=12, scale=1)
    with gr.Row():
        temperature = gr.Slider(0, 2, value=0, step=0.05, label="Temperature (0: the same answer every time)")
        seed = gr.Number(0, precision=0, minimum=0, label="Seed")
        limit = gr.Number(256, precision=0, minimum=1, maximum=LONGEST, label="Tokens at most")
    with gr.Row():
        send = gr.Button("Ask", variant="primary")
        stop = gr.Button("Stop")
    view = _html()

    def choices(name: str, chosen: list[int]) -> Any:
        try:
            numbers = models_of(runs[name].run)
        except (IsheepError, OSError):
            numbers = []
        value = [number for number in chosen if number in numbers] or [*numbers[:1], *numbers[1:][-1:]]
        return gr.CheckboxGroup(choices=[(_called(number), number) for number in numbers], value=value)

    def ask(
        name: str, chosen: list[int], text: str, given: str, warmth: float, number: float, most: float
    ) -> Iterator[str]:
        try:
            question = Question(text, given, warmth, int(number or 0), max(1, int(most or 1)))
            conversation = talk.ask(runs[name].run, chosen, question)
        except (IsheepError, OSError) as error:
            yield views.problem(views.said(error))
            return
        while not conversation.ended.wait(LOOK_S):
            yield views.chat(conversation)
        yield views.chat(conversation)

    for event in (tab.select, run.input):
        event(choices, [run, models], models, **LATEST)
    asked = [run, models, instruction, input_, temperature, seed, limit]
    gr.on([send.click, instruction.submit], ask, asked, view, concurrency_limit=4, **QUIET)
    stop.click(talk.stop, **QUIET)
