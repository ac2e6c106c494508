"""Tokenizers, templates, and texts that the model has no room for."""

from __future__ import annotations

from tests.bad_input.case import Case, file
from tests.bad_input.models import lamb, on_model

TEMPLATE = "run lamb model.template=DIR/mine.jinja --dir DIR/run"

CASES = [
    on_model(
        "tokenizer-missing",
        "no tokenizer",
        ("DIR/model: holds no tokenizer. Give a folder with config.json, weights and tokenizer.json."),
        lamb(without=("tokenizer.json", "tokenizer_config.json")),
    ),
    on_model(
        "tokenizer-broken",
        "a tokenizer.json that is no JSON",
        (
            "DIR/model: its tokenizer does not load (Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)). Mend or replace the folder."
        ),
        lamb(without=("tokenizer.json",)),
        file("model/tokenizer.json", "{"),
    ),
    Case(
        "template-missing",
        "a template that is not there",
        "run lamb model.template=chatlm --dir DIR/run",
        (
            "model.template=chatlm: cannot be read (…No such file or directory: 'chatlm'). Give chatml, "
            "llama3, carried or a Jinja file."
        ),
    ),
    Case(
        "template-not-carried",
        "a template that the tokenizer does not carry",
        "run lamb model.template=carried --dir DIR/run",
        (
            "PACKAGE/lamb/model, model.template=carried: the tokenizer carries no template. Choose "
            "chatml, llama3 or a Jinja file."
        ),
    ),
    Case(
        "template-without-its-tokens",
        "a template whose tokens the model lacks",
        "run lamb model.template=llama3 --dir DIR/run",
        (
            "PACKAGE/lamb/model, model.template=llama3: its turn end <|eot_id|> is not one token of the "
            "vocabulary. Choose a template whose turn end the tokenizer has, or add the token and train "
            "its embedding."
        ),
    ),
    Case(
        "template-no-jinja",
        "a template that does not parse",
        TEMPLATE,
        (
            "PACKAGE/lamb/model, model.template=DIR/mine.jinja: the template refuses the turns user, "
            "assistant (Unexpected end of template. Jinja was looking for the following tags: 'endfor' or"
            " 'else'. The innermost block that needs to be closed is 'for'.). Mend it or choose another "
            "template."
        ),
        (file("mine.jinja", "{% for message in messages %}"),),
    ),
    Case(
        "template-dividing",
        "a template that divides by zero",
        TEMPLATE,
        (
            "PACKAGE/lamb/model, model.template=DIR/mine.jinja: the template refuses the turns user, "
            "assistant (division by zero). Mend it or choose another template."
        ),
        (file("mine.jinja", "{{ 1 / 0 }}"),),
    ),
    Case(
        "template-endless",
        "a template that counts without end",
        TEMPLATE,
        (
            "PACKAGE/lamb/model, model.template=DIR/mine.jinja: the template refuses the turns user, "
            "assistant (Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).). Mend "
            "it or choose another template."
        ),
        (file("mine.jinja", "{% for i in range(10**9) %}a{% endfor %}"),),
    ),
    Case(
        "template-no-turn-end",
        "a template whose turns do not end",
        TEMPLATE,
        (
            "PACKAGE/lamb/model, model.template=DIR/mine.jinja: no special token of the vocabulary ends "
            "the assistant's turn. Choose a template that ends turns with one, such as chatml where the "
            "tokenizer has <|im_end|>."
        ),
        (file("mine.jinja", "{% for m in messages %}{{ m.content }}\n{% endfor %}"),),
    ),
    Case(
        "template-silent",
        "a template that shows no content",
        TEMPLATE,
        (
            "PACKAGE/lamb/model, model.template=DIR/mine.jinja: no special token of the vocabulary ends "
            "the assistant's turn. Choose a template that ends turns with one, such as chatml where the "
            "tokenizer has <|im_end|>."
        ),
        (file("mine.jinja", "hello"),),
    ),
    Case(
        "context-prompt",
        "a prompt for the judge that is longer than its context",
        "run lamb assess.quality_prompt=DIR/mine.txt --dir DIR/run",
        (
            "assess: DIR/mine.txt alone takes 507 of the assessor's 384 tokens and leaves no room for a "
            "pair. Give a shorter assess.quality_prompt, another assess.variant or another "
            "assess.assessor."
        ),
        (file("mine.txt", f"# mine\n---\n{'good ' * 500}{{{{instruction}}}} {{{{input}}}} {{{{response}}}}\n"),),
    ),
]
