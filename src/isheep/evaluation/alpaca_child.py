"""AlpacaEval's own work, in the Python that has alpaca_eval: prompts, order of the outputs, parsing and win rates.

Run as `PYTHON -I alpaca_child.py`, with JSON lines on stdin and stdout; it has no key and asks nobody but its parent:

    parent  {"annotator", "rows": [{"instruction", "output_1", "output_2", "generator_1", "generator_2"}], "gamed"}
    child   {"ask": [messages], "temperature", "max_tokens", "likeliest"}         as often as there is something to ask
    parent  {"answers": [{"text", "likeliest"} or null]}
    child   {"preferences", "judgements", "win_rate", "length_controlled", "error", "why"}    the end

With `"rows": null` it only says what it is: {"version", "prompt" (its hash), "settings"}.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

Ask = Callable[[dict[str, Any]], dict[str, Any]]

_MARKS = ("\ue010", "<|im_start|>", "<|im_end|>", "{instruction}", "{output_1}", "{output_2}", "\ue012")
"""What alpaca_eval would take for its own where an output spells it, and so let a model speak as the system; and what
stands for it here."""

_PLACE = re.compile("\ue012([0-9]+)\ue013")
"""The row's number, behind both of its outputs on their way through the package; its instruction, from which the
package draws which output comes first, stays as it is."""


def hidden(text: str) -> str:
    """The text with the marks as private-use characters."""
    for number, mark in enumerate(_MARKS):
        text = text.replace(mark, f"\ue010{number}\ue011")
    return text


def shown(text: str) -> str:
    """What `hidden` was made of."""
    for number, mark in reversed([*enumerate(_MARKS)]):
        text = text.replace(f"\ue010{number}\ue011", mark)
    return text


def open_annotator(name: str, ask: Ask, said: dict[int, str]) -> Any:
    """The package's own annotator of that name, which asks the parent instead of its server.

    Args:
        name: of its configuration.
        ask: a line to the parent, for its answer.
        said: takes what the judge says, by the number of the row; the package forgets what it cannot read. The judge's
            words may call the two outputs in either order.
    """
    from alpaca_eval.annotators import PairwiseAnnotator
    from alpaca_eval.utils import prompt_to_chatml

    def completions(
        prompts: list[str], temperature: float, max_tokens: int, top_logprobs: int = 0, **others: Any
    ) -> dict[str, Any]:
        places = [_PLACE.search(prompt) for prompt in prompts]
        messages = [prompt_to_chatml(_PLACE.sub("", prompt).strip()) for prompt in prompts]
        asked = [[{**one, "content": shown(one["content"])} for one in conversation] for conversation in messages]
        settings = {"temperature": temperature, "max_tokens": max_tokens, "likeliest": top_logprobs}
        found = ask({"ask": asked, **settings})["answers"]
        said.update({int(place[1]): one["text"] for place, one in zip(places, found, strict=True) if place and one})
        return {
            "completions": [one["text"] if one else "" for one in found],
            "completions_all": [as_choice(one) for one in found],
        }

    annotator = PairwiseAnnotator(annotators_config=name, seed=0, caching_path=None, is_avoid_reannotations=False)
    for single in annotator.annotators.values():
        single.fn_completions = completions
    return annotator


def as_choice(answer: dict[str, Any] | None) -> Any:
    """The answer as OpenAI's library shows it, as far as the parser of log-probabilities looks; empty: none."""
    if not answer or not answer["likeliest"]:
        return ""
    steps = [
        {"top_logprobs": [{"token": token, "logprob": value} for token, value in step.items()]}
        for step in answer["likeliest"]
    ]
    return {"text": answer["text"], "logprobs": {"content": steps}}


def described(annotator: Any) -> dict[str, Any]:
    """What decides its judgements beside the judge."""
    import alpaca_eval

    (single,) = annotator.annotators.values()
    kept = ("temperature", "max_tokens", "logprobs", "top_logprobs")
    settings = {key: value for key, value in single.completions_kwargs.items() if key in kept}
    prompt = hashlib.sha256(single.prompt_template.encode()).hexdigest()
    return {"version": alpaca_eval.__version__, "prompt": prompt, "settings": settings}


def judged(annotator: Any, said: dict[int, str], rows: list[dict[str, Any]], gamed: str | None) -> dict[str, Any]:
    """Preferences in the order of the rows, 1 (the reference) to 2 (the model), None where there is none."""
    from alpaca_eval import metrics

    asked = [
        {
            **row,
            "instruction": hidden(row["instruction"]),
            **{key: f"{hidden(row[key])}\ue012{number}\ue013" for key in ("output_1", "output_2")},
            "index": number,
        }
        for number, row in enumerate(rows)
    ]
    found = {int(one["index"]): one for one in annotator(asked, chunksize=None)}
    annotated = [{**found[number], **row} for number, row in enumerate(rows)]
    preferences = [number_or_none(row.get("preference")) for row in annotated]
    annotated = [{**row, "preference": value} for row, value in zip(annotated, preferences, strict=True)]
    told: dict[str, Any] = {"preferences": preferences, "judgements": [said.get(n) for n in range(len(rows))]}
    told |= {"length_controlled": None, "error": None, "why": ""}
    if all(value is None for value in preferences):
        return {**told, "win_rate": None, "why": "the judge gave no preference that could be read"}
    told["win_rate"] = number_or_none(metrics.get_winrate(annotated)["win_rate"])
    if gamed is None:
        return {**told, "why": "df_gamed.csv is not at hand"}
    try:
        from alpaca_eval.metrics import glm_winrate

        glm_winrate.hf_hub_download = lambda **wanted: gamed
        lengths = glm_winrate.get_length_controlled_winrate(annotated, save_weights_dir=None)
    except Exception as error:  # Its regression takes what is not too little and not all alike, and says so somehow.
        return {**told, "why": f"its regression failed ({type(error).__name__})"}
    told["length_controlled"] = number_or_none(lengths["length_controlled_winrate"])
    told["error"] = number_or_none(lengths["lc_standard_error"])
    return told


def number_or_none(value: Any) -> float | None:
    """None for what is no number."""
    return None if value is None or value != value else float(value)


def main() -> None:
    """One job from stdin."""
    # What libraries print must not come between the lines for the parent.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(document: dict[str, Any]) -> None:
        lines.write(json.dumps(document) + "\n")
        lines.flush()

    def ask(document: dict[str, Any]) -> dict[str, Any]:
        say(document)
        answer: dict[str, Any] = json.loads(sys.stdin.readline())
        return answer

    job = json.loads(sys.stdin.readline())
    said: dict[int, str] = {}
    annotator = open_annotator(job["annotator"], ask, said)
    say(described(annotator) if job["rows"] is None else judged(annotator, said, job["rows"], job["gamed"]))


if __name__ == "__main__":
    main()
