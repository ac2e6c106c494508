"""What several filters say of one record."""

from __future__ import annotations

from isheep.filters import Drop, together


def test_several_drops_together_have_the_first_ones_rule_and_every_reason() -> None:
    drops = [Drop("b", "too wide"), Drop("a", "too deep")]
    assert together(drops) == Drop("b", "too wide; too deep")
    assert together(drops[:1]) == drops[0]
    assert together([]) is None
