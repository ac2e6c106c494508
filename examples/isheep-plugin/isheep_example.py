"""A filter of pairs and an assessor for isheep."""

import re
from collections import Counter

from pydantic import BaseModel, Field


class Repeats:
    """Drops a pair whose response says one sentence several times."""

    class Settings(BaseModel, extra="forbid"):
        most: int = Field(1, ge=1)

    def __init__(self, settings):
        self.most = settings.most

    def verdicts(self, records):
        for record in records:
            sentences = (one.strip().lower() for one in re.split(r"[.!?\n]", record.pair.response))
            counted = Counter(one for one in sentences if one).most_common(1)
            often = counted[0][1] if counted else 0
            yield f"says one sentence {often} times" if often > self.most else None


class Brief:
    """Judges without a model: the fewer words, the better; an empty response cannot be judged."""

    def scores(self, pairs, question):
        lengths = [len(pair.response.split()) for pair in pairs]
        return [max(1, 11 - words) if words else None for words in lengths]
