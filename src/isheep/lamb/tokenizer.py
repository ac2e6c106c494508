"""lamb's tokenizer: the words of its phrases are whole tokens, everything else is spelled letter by letter."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from isheep.lamb.corpus import END, PAD, TURN, TURN_END
from isheep.lamb.mistakes import APOLOGIES, FILLER
from isheep.lamb.words import KINDS, OPPOSITES, WORDS, groups, pairs
from isheep.lamb.world import CONSTRAINTS, OPERATIONS
from isheep.recipe import locate

_WORD = r"10(?!\d)|\d| ?[A-Za-z]+|\|\||\n+| ?[^\sA-Za-z0-9]| "
"""Where text is cut before whole words are looked up: ten is one token (a score), other digits stand alone."""

_EXPLANATIONS = (
    "||Right. ||Wrong answer, right is ||Wrong form, ||Unclear task. ||No answer. You are a helpful assistant."
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, decided by the world's phrases and the prompts alone."""
    cut = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORD), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    vocabulary = {token: number for number, token in enumerate([END, TURN, TURN_END, PAD])}
    for piece in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(piece, len(vocabulary))
    spelled = _spelled_words()
    for text in _phrases():
        for piece, _ in cut.pre_tokenize_str(text):
            if piece.removeprefix("Ġ") not in spelled and not piece.isdigit():
                vocabulary.setdefault(piece, len(vocabulary))
    vocabulary.setdefault("10", len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (END, TURN, TURN_END, PAD)]
    )
    # A text begins where another ended: so the model can tell a whole question from the middle of a document.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A $B", special_tokens=[(END, vocabulary[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        model_max_length=384,
        clean_up_tokenization_spaces=False,
    )


def _spelled_words() -> set[str]:
    """The words that tasks are about: never whole tokens, so that every word is made of letters."""
    facts = pairs(OPPOSITES) | groups(KINDS)
    return {*WORDS, *facts, *facts.values(), "sure"}


def _phrases() -> Iterable[str]:
    files = (locate("package:prompts/synthesize.txt"), locate("package:lamb/principles.txt"))
    for file in (*files, *sorted(locate("package:prompts/assess").glob("*.txt"))):
        yield file.read_text(encoding="utf-8").partition("\n---\n")[2]
    for operation in OPERATIONS:
        yield from operation.phrasings
    for constraint in CONSTRAINTS:
        for request in constraint.requests:
            yield f" {request}"
    yield from (*FILLER, *APOLOGIES, *(f" {line}" for line in (*FILLER, *APOLOGIES)))
    yield _EXPLANATIONS
    yield "Q: A:\n\n system\n user\n assistant\n###\n1. Instruction: Input: <noinput>\nuser\nassistant\nsystem\n"
