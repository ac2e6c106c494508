"""Where data lies that is not part of the project, if it is there at all, and the embedded model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from isheep.recipe import locate

SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Beside the project."""
BENCHMARK_DATA = SHARED / "benchmarks"
EVALPLUS_DATA = BENCHMARK_DATA if BENCHMARK_DATA.is_dir() else Path(os.environ.get("ISHEEP_BENCHMARKS", "nowhere"))
LAMB = locate("package:lamb/model")

needs_data = pytest.mark.skipif(not BENCHMARK_DATA.is_dir(), reason="the benchmarks' data is not beside the project")
