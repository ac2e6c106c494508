"""The run that the workbench's tests look at, too."""

from __future__ import annotations

from tests.workbench.conftest import lamb_run as lamb_run
