"""Seeds and ids are the same on every machine for ever, and different for different work."""

from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from isheep.seeding import derive_seed, record_id

PARTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x1f")) | st.integers(), min_size=1)


def test_a_seed_is_the_hash_of_its_parts() -> None:
    expected = int.from_bytes(blake2b(b"7\x1f1\x1fsynthesize\x1f42\x1f0", digest_size=8).digest(), "big") // 2
    assert derive_seed(7, 1, "synthesize", 42, 0) == expected
    assert expected == 3321632910185727583


@given(PARTS, PARTS)
def test_other_work_has_another_seed(one: list[str | int], other: list[str | int]) -> None:
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (derive_seed(*one) == derive_seed(*other)) is same
    assert 0 <= derive_seed(*one) < 2**63


def test_ids_are_in_the_order_of_the_work_and_differ_between_runs() -> None:
    ids = [record_id(0, iteration, index) for iteration in (1, 2, 10) for index in (0, 1, 9, 10, 100_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert ids[0].startswith("01-000000-")
    assert len(ids[0]) == 18
    assert record_id(1, 1, 0) != ids[0]
