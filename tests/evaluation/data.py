"""Where the benchmarks' data lies, if it is beside the project."""

from __future__ import annotations

from pathlib import Path

import pytest

import isheep

SHARED = Path(__file__).parents[3] / "shared" / "data"
BENCHMARK_DATA = SHARED / "benchmarks"
LAMB = Path(isheep.__file__).parent / "lamb" / "model"

needs_data = pytest.mark.skipif(not BENCHMARK_DATA.is_dir(), reason="the benchmarks' data is not beside the project")
