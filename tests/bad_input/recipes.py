"""Recipe files that cannot be read, or that name what is not there."""

from __future__ import annotations

from tests.bad_input.case import Case, Place, file, folder

LONG = "n" * 300
"""Longer than any file system lets a name be."""


def _deep(place: Place) -> None:
    place.path("mine.yaml").write_text("size: " + "[" * 5000)


def _bomb(place: Place) -> None:
    """Nine layers of nine aliases each: 387,420,489 words from half a kilobyte."""
    rows = ["&a0 [lol]", *(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    place.path("mine.yaml").write_text(f"extends: lamb\nsize: [{', '.join(rows)}]\n")


def _huge(place: Place) -> None:
    with place.path("mine.yaml").open("wb") as opened:
        opened.truncate(3_000_000_000)


RUN = "run DIR/mine.yaml --dir DIR/run"

CASES = [
    Case(
        "recipe-unknown",
        "a recipe that does not ship and is no file",
        "run lam --dir DIR/run",
        "recipe lam: there is no such recipe or file. Did you mean `lamb`? Or give a YAML file.",
    ),
    Case(
        "recipe-unknown-far",
        "a name like no recipe's",
        "check nonsense",
        ("recipe nonsense: there is no such recipe or file. `isheep recipes` lists what ships. Or give a YAML file."),
    ),
    Case(
        "recipe-folder",
        "a folder instead of a recipe file",
        RUN,
        ("recipe DIR/mine.yaml: is a folder, not a recipe. `isheep recipes` lists what ships. Or give a YAML file."),
        (folder("mine.yaml"),),
    ),
    Case(
        "recipe-name-too-long",
        "a name that no disk can hold",
        f"show {LONG}",
        "…: cannot be used (File name too long). Mend the path, or its rights.",
    ),
    Case(
        "recipe-empty",
        "an empty file",
        RUN,
        ("recipe DIR/mine.yaml: holds no settings. A recipe is a YAML mapping such as `model: {path: ...}`."),
        (file("mine.yaml"),),
    ),
    Case(
        "recipe-list",
        "a list instead of a mapping",
        RUN,
        (
            "recipe DIR/mine.yaml: holds no `key: value` settings. A recipe is a YAML mapping such as "
            "`model: {path: ...}`."
        ),
        (file("mine.yaml", "- size: 3\n"),),
    ),
    Case(
        "recipe-not-yaml",
        "YAML that does not parse",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: expected ',' or ']', but got '<stream end>', "
            "line 3. Mend the file."
        ),
        (file("mine.yaml", "size: [1,\nseed: 2\n"),),
    ),
    Case(
        "recipe-tab",
        "a tab as indentation",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: found character '\\t' that cannot start any "
            "token, line 2. Mend the file."
        ),
        (file("mine.yaml", "model:\n\tpath: m\n"),),
    ),
    Case(
        "recipe-key-twice",
        "a key that stands there twice",
        RUN,
        ("recipe DIR/mine.yaml: cannot be read as YAML: the key `size` stands there twice, line 3. Mend the file."),
        (file("mine.yaml", "extends: lamb\nsize: 3\nsize: 4\n"),),
    ),
    Case(
        "recipe-unsafe-tag",
        "a tag that would run code",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system', line 2. Mend the file."
        ),
        (file("mine.yaml", 'extends: lamb\nsize: !!python/object/apply:os.system ["touch DIR/pwned"]\n'),),
    ),
    Case(
        "recipe-tag-of-another-kind",
        "a tag whose value is of another kind",
        RUN,
        ("recipe DIR/mine.yaml: cannot be read as YAML: `'perhaps'` is no bool, line 2. Mend the file."),
        (file("mine.yaml", "extends: lamb\ntrain: {gradient_checkpointing: !!bool perhaps}\n"),),
    ),
    Case(
        "recipe-date",
        "a day that is in no calendar",
        RUN,
        ("recipe DIR/mine.yaml: cannot be read as YAML: month must be in 1..12. Mend the file."),
        (file("mine.yaml", "extends: lamb\nsize: 2026-13-45\n"),),
    ),
    Case(
        "recipe-alias-bomb",
        "aliases that unfold without end",
        RUN,
        (
            "recipe DIR/mine.yaml (extends lamb), size: cannot be [['lol'], [['lol'], ['lol'], "
            "['lol'],.... Give a whole number of at least 1."
        ),
        (_bomb,),
    ),
    Case(
        "recipe-within-itself",
        "a list that holds itself",
        RUN,
        (
            "recipe DIR/mine.yaml (extends lamb), rules.off: cannot be [[[[...]]]]. Give a list in "
            "brackets (each entry text)."
        ),
        (file("mine.yaml", "extends: lamb\nrules: {off: &a [*a]}\n"),),
    ),
    Case(
        "recipe-too-deep",
        "five thousand brackets",
        RUN,
        "recipe DIR/mine.yaml: cannot be read as YAML: it is nested too deep. Mend the file.",
        (_deep,),
    ),
    Case(
        "recipe-huge",
        "a file of gigabytes",
        RUN,
        ("recipe DIR/mine.yaml: has 3,000,000,000 bytes, and no recipe is so long. Give a recipe file."),
        (_huge,),
    ),
    Case(
        "recipe-number-too-large",
        "a number of four thousand digits",
        RUN,
        ("recipe DIR/mine.yaml: cannot be read as YAML: the number is larger than any setting, line 2. Mend the file."),
        (file("mine.yaml", f"extends: lamb\nseed: 0x{'f' * 4000}\n"),),
    ),
    Case(
        "recipe-latin-1",
        "a file in Latin-1",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: 'utf-8' codec can't decode byte 0xe4 in "
            "position 17: invalid continuation byte. Mend the file."
        ),
        (file("mine.yaml", b"extends: lamb  # \xe4\n"),),
    ),
    Case(
        "recipe-nul",
        "a NUL in the file",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: unacceptable character #x0000: special "
            "characters are not allowed. Mend the file."
        ),
        (file("mine.yaml", b"extends: lamb\nsize: 3\0\n"),),
    ),
    Case(
        "recipe-nul-escaped",
        "a NUL in a value",
        RUN,
        (
            "recipe DIR/mine.yaml (extends lamb), seeds.path: holds a NUL character or half of a surrogate "
            "pair, which no path can. Take it out."
        ),
        (file("mine.yaml", 'extends: lamb\nseeds: {path: "a\\0b"}\n'),),
    ),
    Case(
        "recipe-surrogate",
        "half of a surrogate pair in a value",
        RUN,
        (
            "recipe DIR/mine.yaml (extends lamb), seeds.path: holds a NUL character or half of a surrogate "
            "pair, which no path can. Take it out."
        ),
        (file("mine.yaml", 'extends: lamb\nseeds: {path: "\\ud800"}\n'),),
    ),
    Case(
        "recipe-binary",
        "a picture instead of a recipe",
        RUN,
        (
            "recipe DIR/mine.yaml: cannot be read as YAML: 'utf-8' codec can't decode byte 0x89 in "
            "position 0: invalid start byte. Mend the file."
        ),
        (file("mine.yaml", b"\x89PNG\r\n\x1a\n\0\0"),),
    ),
    Case(
        "recipe-bom-only",
        "nothing but a byte order mark",
        RUN,
        ("recipe DIR/mine.yaml: holds no settings. A recipe is a YAML mapping such as `model: {path: ...}`."),
        (file("mine.yaml", b"\xef\xbb\xbf"),),
    ),
    Case(
        "recipe-key-number",
        "a key that is a number",
        RUN,
        ("recipe DIR/mine.yaml (extends lamb), 3: a setting's name has to be text. Rename it or take it out."),
        (file("mine.yaml", "extends: lamb\n3: 4\n"),),
    ),
    Case(
        "extends-missing",
        "`extends` of a file that is not there",
        RUN,
        (
            "recipe DIR/mine.yaml, extends 'b.yaml': there is no such recipe or file. `isheep recipes` "
            "lists what ships. Or give a YAML file."
        ),
        (file("mine.yaml", "extends: b.yaml\n"),),
    ),
    Case(
        "extends-list",
        "`extends` of two",
        RUN,
        (
            "recipe DIR/mine.yaml, extends ['lamb', 'paper']: is not the name of a recipe. Give the name "
            "or the path of one recipe."
        ),
        (file("mine.yaml", "extends: [lamb, paper]\n"),),
    ),
    Case(
        "extends-circle",
        "two files that extend each other",
        RUN,
        (
            "recipe DIR/b.yaml, extends 'mine.yaml': comes back to itself: DIR/mine.yaml -> b.yaml -> "
            "mine.yaml. Take the line out of one of them."
        ),
        (file("mine.yaml", "extends: b.yaml\n"), file("b.yaml", "extends: mine.yaml\n")),
    ),
    Case(
        "extends-itself",
        "a file that extends itself",
        RUN,
        (
            "recipe DIR/mine.yaml, extends './mine.yaml': comes back to itself: DIR/mine.yaml -> "
            "./mine.yaml. Take the line out of one of them."
        ),
        (file("mine.yaml", "extends: ./mine.yaml\n"),),
    ),
    Case(
        "extends-broken",
        "`extends` of a file outside, which does not parse",
        "run DIR/in/mine.yaml --dir DIR/run",
        (
            "recipe DIR/in/../b.yaml: cannot be read as YAML: expected the node content, but found "
            "'<stream end>', line 2. Mend the file."
        ),
        (file("in/mine.yaml", "extends: ../b.yaml\n"), file("b.yaml", "size: [\n")),
    ),
    Case(
        "recipe-without-model",
        "a recipe that names no model",
        "run ablations/size-20k --dir DIR/run",
        (
            "recipe ablations/size-20k, model: is missing. Name one that has a model before it, as in "
            "`isheep run lamb ablations/size-20k`, or give `model.path=...`."
        ),
    ),
    Case(
        "model-missing",
        "a file without a model",
        RUN,
        "recipe DIR/mine.yaml, model: is missing. Give it, as in `model.path=...`.",
        (file("mine.yaml", "size: 3\n"),),
    ),
]
