"""The one place where text becomes token ids: for training, generation and scoring alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from isheep.errors import UserError
from isheep.recipe import locate
from isheep.terminal import storable

Message = dict[str, str]

IGNORED = -100
"""The label of a token that is not learned."""

TURN_ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>"}
"""Our own templates (files in `templates/`) and the token that ends a turn in each."""

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tokenizer_config.json")

_PLACE = "\ue000{}\ue001"
"""Stands for a message's content while the template is rendered; private-use characters that no template writes."""

_PROBE = [{"role": "user", "content": ""}, {"role": "assistant", "content": ""}]

_FIXED_DATE = "26 Jul 2024"
"""For templates that print today's date (Llama 3.1 and later): a run resumed tomorrow must see the same tokens."""


class Encoder:
    """A tokenizer with the one template that a trained model is spoken to with.

    Not covered: templates that look into a message's content see a placeholder instead of it; and a turn-end token
    whose embedding row the base never trained is learned by no LoRA on linear layers, so such a model does not stop
    by itself.
    """

    def __init__(self, tokenizer: Any, template: str | None) -> None:
        """Wraps a loaded tokenizer; see `load` for what `template` may be and which errors come."""
        self.tokenizer = tokenizer
        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._template = template
        folder = str(tokenizer.name_or_path)
        self._where = folder if template is None else f"{folder}, model.template={template}"
        self._source = _template_source(tokenizer, template)
        self._specials = {
            token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._begin = _beginning(tokenizer)
        self._variables = {"date_string": _FIXED_DATE}
        if template in TURN_ENDS:
            self._variables["bos_token"] = tokenizer.bos_token if self._begin else ""
        turn_end = self._own_end() if template is None else TURN_ENDS.get(template) or self._find_turn_end()
        self.turn_end_id = self._turn_end_id(turn_end)
        self._special_ids = frozenset(self._specials.values()) - {tokenizer.unk_token_id}
        self._split_specials = re.compile("|".join(map(re.escape, sorted(self._specials, key=len, reverse=True))))
        ends = {self.turn_end_id, tokenizer.eos_token_id}
        self.stop_ids: frozenset[int] = frozenset(end for end in ends if end is not None)
        self.pad_id = self._choose_pad()

    @classmethod
    def load(cls, model_dir: Path, template: str | None) -> Encoder:
        """Reads the tokenizer of a local model folder; code that the folder brings along is never run.

        Args:
            model_dir: the model's folder.
            template: `chatml`, `llama3`, `carried` (the tokenizer's own) or a Jinja file; None for a model that is
                asked in bare text alone, whatever it carries.

        Raises:
            UserError: no tokenizer there, no such template, a template without a turn end that is one token of the
                vocabulary, or no token to pad with but a stop token.
        """
        from transformers import AutoTokenizer

        where = str(model_dir)
        if not any((model_dir / name).is_file() for name in TOKENIZER_FILES):
            raise UserError(where, "holds no tokenizer.", "Give a folder with config.json, weights and tokenizer.json.")
        try:
            tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, local_files_only=True)
        except Exception as error:
            raise UserError(where, f"its tokenizer does not load ({error}).", "Mend or replace the folder.") from None
        return cls(tokenizer, template)

    def plain(self, text: str) -> tuple[int, ...]:
        """The ids of bare text, after the beginning token if the tokenizer asks for one.

        Special tokens spelled out in the text come out as plain characters, half of a surrogate pair as U+FFFD.
        """
        return (*self._begin, *self._characters(text))

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The ids of a conversation, up to and with the header of the assistant's next turn."""
        contents = _contents(messages)
        rendered = self._render(messages, answer_next=True)
        if not self._spelled(contents):
            ids = self._as_written(_fill(rendered, contents))
            # Not so where a content and its neighbour spell one together, or the tokenizer reads wide letters as plain.
            if self._specials_among(ids) == [self._specials[name] for name in self._split_specials.findall(rendered)]:
                return ids
        return tuple(self._encode_around(rendered, contents))

    def supervised(self, messages: Sequence[Message]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids and labels of a conversation whose last turn, the assistant's, is learned, its turn end included.

        What comes before is token by token what `chat` gives a model to answer; its labels are -100.
        """
        *context, answer = messages
        if answer["role"] != "assistant":
            raise ValueError("the last message of a supervised conversation is the assistant's")
        prompt = self.chat(context)
        learned = (*self._continuation(context, prompt, answer["content"]), self.turn_end_id)
        return prompt + learned, (IGNORED,) * len(prompt) + learned

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens left out."""
        return self._decode(ids, skip=True)

    def spell(self, ids: Sequence[int]) -> str:
        """The text of the ids with the special tokens written out, for who makes tokens of it again.

        Not covered: what was plain text and looks like a special token comes back as one.
        """
        return self._decode(ids, skip=False)

    def save(self, folder: Path) -> None:
        """Writes the tokenizer for other programs: it carries the template, and renders it as it is rendered here.

        What goes into the template here beside the messages stands in what is written: the date, and that no text
        begins with a token which the tokenizer names and does not put there. Not covered: a special token spelled out
        in a message, which other programs take for the token; and of several templates that a tokenizer carries the
        one that is used is written alone.
        """
        given = self._source or self.tokenizer.get_chat_template()
        settled = "{%- if date_string is not defined %}{%- set date_string = '" + _FIXED_DATE + "' %}{%- endif %}"
        first = settled if "date_string" in given else ""
        if self._variables.get("bos_token") == "" and self.tokenizer.bos_token:
            first += "{%- set bos_token = '' %}"
        carried = self.tokenizer.chat_template
        try:
            self.tokenizer.chat_template = first + given
            self.tokenizer.save_pretrained(folder)
        finally:
            self.tokenizer.chat_template = carried

    def _decode(self, ids: Sequence[int], skip: bool) -> str:
        if self._backend is not None:
            # What the tokenizer itself calls, after a look at the type of every id that costs as much again.
            return str(self._backend.decode(list(ids), skip_special_tokens=skip))
        found = self.tokenizer.decode(list(ids), skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        return str(found)

    def _spelled(self, contents: Iterable[str]) -> bool:
        """Whether one of them holds a special token, spelled out."""
        return any(self._split_specials.search(content) for content in contents)

    def _specials_among(self, ids: Sequence[int]) -> list[int]:
        """The special tokens, but for the one that stands for characters which the vocabulary lacks."""
        return [number for number in ids if number in self._special_ids]

    def _characters(self, text: str) -> tuple[int, ...]:
        text, backend = storable(text), self._backend
        if backend is None:
            encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
            return tuple(encoded["input_ids"])
        # The same call as the tokenizer's own, which spends half its time around it. Others set these three meanwhile.
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        return tuple(backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    def _as_written(self, text: str) -> tuple[int, ...]:
        encoded = self.tokenizer(storable(text), add_special_tokens=False, split_special_tokens=False, verbose=False)
        return tuple(encoded["input_ids"])

    def _continuation(self, context: Sequence[Message], prompt: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Ids of `text` as they follow the prompt; on their own where they would melt into the prompt's last token."""
        contents = _contents(context)
        if not self._spelled((*contents, text)):
            whole = self._as_written(_fill(self._render(context, answer_next=True), contents) + text)
            if whole[: len(prompt)] == prompt and not self._specials_among(whole[len(prompt) :]):
                return whole[len(prompt) :]
        return self._characters(text)

    def _render(self, messages: Sequence[Message], answer_next: bool) -> str:
        """The conversation in the template, with a placeholder for each content.

        The white space around a content stays visible to the template, which may trim it.
        """
        places = [
            {**message, "content": _in_place(message["content"], number)} for number, message in enumerate(messages)
        ]
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                places,
                tokenize=False,
                chat_template=self._source,
                add_generation_prompt=answer_next,
                **self._variables,
            )
        except Exception as error:  # A template may divide by zero, count without end, or ask for what is not there.
            roles = ", ".join(message["role"] for message in messages)
            raise UserError(
                self._where, f"the template refuses the turns {roles} ({error}).", "Mend it or choose another template."
            ) from None
        return rendered

    def _encode_around(self, rendered: str, contents: Sequence[str]) -> Iterable[int]:
        """Special tokens of the template as themselves; all text between two of them, contents included, as text."""
        start = 0
        for match in self._split_specials.finditer(rendered):
            yield from self._characters(_fill(rendered[start : match.start()], contents))
            yield self._specials[match[0]]
            start = match.end()
        yield from self._characters(_fill(rendered[start:], contents))

    def _find_turn_end(self) -> str:
        """The special token that the template puts after an assistant's content."""
        rendered = self._render(_PROBE, answer_next=False)
        _, shown, tail = rendered.partition(_PLACE.format(1))
        ends: list[str] = [special for special in self._specials if tail.lstrip().startswith(special)]
        if not shown or not ends:
            raise UserError(
                self._where,
                "no special token of the vocabulary ends the assistant's turn.",
                "Choose a template that ends turns with one, such as chatml where the tokenizer has <|im_end|>.",
            )
        return max(ends, key=len)

    def _own_end(self) -> str:
        """Where no template is asked for: the turn end of the one that the tokenizer carries, else its end of text."""
        if self.tokenizer.chat_template:
            try:
                return self._find_turn_end()
            except UserError:
                pass  # Its turns end in plain text, or it wants other turns: the end of text is left.
        if self.tokenizer.eos_token is None:
            raise UserError(self._where, "its tokenizer names no end of text.", "Give its tokenizer an eos_token.")
        return str(self.tokenizer.eos_token)

    def _turn_end_id(self, turn_end: str) -> int:
        number = self.tokenizer.convert_tokens_to_ids(turn_end)
        if number is None or self.tokenizer.convert_ids_to_tokens(number) != turn_end:
            raise UserError(
                self._where,
                f"its turn end {turn_end} is not one token of the vocabulary.",
                "Choose a template whose turn end the tokenizer has, or add the token and train its embedding.",
            )
        if turn_end not in self._specials:
            # Some tokenizers hold it as an ordinary entry; then text could spell it and `decode` would show it.
            self.tokenizer.add_special_tokens({"extra_special_tokens": [turn_end]}, replace_extra_special_tokens=False)
            self._specials[turn_end] = number
        return int(number)

    def _choose_pad(self) -> int:
        """The tokenizer's own pad, or another special token that neither stops nor, if possible, begins a text."""
        pad, unknown, begin = (
            getattr(self.tokenizer, name) for name in ("pad_token_id", "unk_token_id", "bos_token_id")
        )
        others = sorted(number for number in self._specials.values() if number != begin)
        for candidate in (pad, unknown, *others, begin):
            if candidate is not None and candidate not in self.stop_ids:
                return int(candidate)
        if self._template is None:
            return self.turn_end_id  # A pad is masked; only a model that is trained could learn a wrong thing from it.
        raise UserError(
            str(self.tokenizer.name_or_path),
            "its only pad token is a stop token, so a model would never learn to stop.",
            "Add a pad token to the tokenizer.",
        )


def _contents(messages: Sequence[Message]) -> list[str]:
    """What the placeholders of `_in_place` stand for."""
    return [message["content"].strip() for message in messages]


def _in_place(content: str, number: int) -> str:
    """A content's placeholder, between the white space that surrounds the content."""
    before = content[: len(content) - len(content.lstrip())]
    after = content[len(content.rstrip()) :] if content.strip() else ""
    return before + _PLACE.format(number) + after


def _fill(text: str, contents: Sequence[str]) -> str:
    """`text` with its placeholders replaced, in one pass: what stands in a content is not looked at again."""
    return re.sub("\ue000([0-9]+)\ue001", lambda match: contents[int(match[1])], text)


def _beginning(tokenizer: Any) -> tuple[int, ...]:
    """The beginning-of-text token, where the tokenizer puts one before text."""
    begin = tokenizer.bos_token_id
    asked = begin is not None and tokenizer("a")["input_ids"][:1] == [begin]
    return (begin,) if asked else ()


def _template_source(tokenizer: Any, template: str | None) -> str | None:
    """The Jinja text; None stands for the tokenizer's own."""
    if template is None:
        return None
    if template == "carried":
        if not tokenizer.chat_template:
            raise UserError(
                f"{tokenizer.name_or_path}, model.template=carried",
                "the tokenizer carries no template.",
                "Choose chatml, llama3 or a Jinja file.",
            )
        return None
    file = locate(f"package:templates/{template}.jinja") if template in TURN_ENDS else locate(template)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join((*TURN_ENDS, "carried"))
        raise UserError(
            f"model.template={template}", f"cannot be read ({error}).", f"Give {known} or a Jinja file."
        ) from None
