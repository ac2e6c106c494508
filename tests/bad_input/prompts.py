"""Prompts, principles, rules and their language."""

from __future__ import annotations

from tests.bad_input.case import Case, file
from tests.bad_input.settings import on_lamb

CASES = [
    on_lamb(
        "rule-unknown",
        "a rule that there is not",
        "rules.off=[too_shrot]",
        "rules.off: there is no rule `too_shrot`. Did you mean `too_short`?",
    ),
    on_lamb(
        "rule-words-swapped",
        "more words at least than at most",
        "rules.min_words=200",
        "rules.min_words: 200 is greater than max_words 150. Swap them.",
    ),
    on_lamb(
        "language-missing",
        "a language file that is not there",
        "rules.language=DIR/no.yaml",
        (
            "DIR/no.yaml: cannot be read as YAML: …No such file or directory: 'DIR/no.yaml'. Give a file "
            "like english.yaml."
        ),
    ),
    Case(
        "language-not-yaml",
        "a language file that does not parse",
        "run lamb rules.language=DIR/mine.yaml --dir DIR/run",
        (
            "DIR/mine.yaml: cannot be read as YAML: while parsing a flow node expected the node content, "
            "but found '<stream end>' in \"<unicode string>\", line 2, column 1: ^. Give a file like "
            "english.yaml."
        ),
        (file("mine.yaml", "courtesies: [\n"),),
    ),
    Case(
        "language-empty",
        "a language file that is empty",
        "run lamb rules.language=DIR/mine.yaml --dir DIR/run",
        "DIR/mine.yaml: holds no entries. Give a YAML mapping like english.yaml.",
        (file("mine.yaml", ""),),
    ),
    on_lamb(
        "prompt-missing",
        "a prompt that is not there",
        "synthesize.prompt=DIR/no.txt",
        ("DIR/no.txt: the prompt cannot be read (…No such file or directory: 'DIR/no.txt'). Give a UTF-8 text file."),
    ),
    Case(
        "prompt-without-header",
        "a prompt without its header",
        "run lamb synthesize.prompt=DIR/mine.txt --dir DIR/run",
        "DIR/mine.txt: has no line `---`. Put a comment header and `---` before the text.",
        (file("mine.txt", "{{examples}}\n"),),
    ),
    Case(
        "prompt-without-field",
        "a prompt without its field",
        "run lamb assess.quality_prompt=DIR/mine.txt --dir DIR/run",
        (
            "DIR/mine.txt: has the fields ['answer', 'instruction']. It needs just {{instruction}}, "
            "{{input}}, {{response}}."
        ),
        (file("mine.txt", "# mine\n---\nRate {{instruction}}: {{answer}}\n"),),
    ),
    Case(
        "prompt-example-outside",
        "a prompt whose example is scored 11",
        "run lamb assess.quality_prompt=DIR/mine.txt --dir DIR/run",
        ("DIR/mine.txt, line 3: its example has the score 11, which lies outside 1 to 10. Give a score of 1 to 10."),
        (file("mine.txt", "# mine\n---\nScore: 11 || too good\n{{instruction}} {{input}} {{response}}\nScore:\n"),),
    ),
    Case(
        "principles-latin-1",
        "principles in Latin-1",
        "run lamb respond.principles=DIR/mine.txt --dir DIR/run",
        (
            "DIR/mine.txt: the prompt cannot be read ('utf-8' codec can't decode byte 0xe4 in position "
            "20: invalid continuation byte). Give a UTF-8 text file."
        ),
        (file("mine.txt", b"# mine\n---\n{{task}} \xe4\n"),),
    ),
    Case(
        "principles-too-long",
        "principles that leave no room for an answer",
        "run lamb respond.principles=DIR/mine.txt --dir DIR/run",
        (
            "respond.principles: DIR/mine.txt with the shortest seed task in it takes 831 of the model's "
            "384 tokens and leaves no room for a response. Give a shorter file, or a model with a longer "
            "context."
        ),
        (file("mine.txt", "# mine\n---\n" + "be good " * 400 + "{{task}}\n"),),
    ),
]
