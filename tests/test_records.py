"""The records and the schemas that they are stored in say the same."""

from __future__ import annotations

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

import pyarrow as pa
import pytest

from isheep.records import SCHEMAS, TABLES, Assessment, Selection

STORED = {str: pa.string(), bool: pa.bool_(), int: pa.int32(), float: pa.float64(), list[str]: pa.list_(pa.string())}


@pytest.mark.parametrize("record", TABLES.values())
def test_a_schema_is_its_record_field_by_field(record: type[Any]) -> None:
    hints = get_type_hints(record)
    expected = []
    for field in fields(record):
        kinds = get_args(hints[field.name]) if NoneType in get_args(hints[field.name]) else (hints[field.name],)
        (kind,) = (kind for kind in kinds if kind is not NoneType)
        expected.append(pa.field(field.name, STORED[kind], nullable=NoneType in kinds))
    assert SCHEMAS[record].equals(pa.schema(expected))


def test_every_record_that_is_stored_has_a_schema() -> None:
    assert set(SCHEMAS) == set(TABLES.values())


@pytest.mark.parametrize(
    ("assessment", "asked"),
    [
        (Assessment("a", 8.0, 9.0, "8", "9", "base"), ("quality", "following")),
        (Assessment("a", None, 9.0, "high", "9", "base"), ("quality", "following")),
        (Assessment("a", None, 9.0, None, "9", "base"), ("following",)),
        (Assessment("a", None, None, None, None, "none"), ()),
    ],
)
def test_what_was_asked_has_a_score_or_what_it_was_read_from(assessment: Assessment, asked: tuple[str, ...]) -> None:
    assert assessment.asked == asked


def test_the_figures_of_a_selection_are_those_that_were_computed() -> None:
    assert Selection("a", True).figures == []
    assert Selection("a", True, ppl_pair=12.345, cluster=0).figures == ["perplexity of the pair 12.35", "cluster 0"]
