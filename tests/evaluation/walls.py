"""Whether generated code can be isolated on this machine."""

from __future__ import annotations

import pytest

from isheep.errors import UserError
from isheep.evaluation.sandbox import refuse_without


def available() -> bool:
    """Whether walls can be put up."""
    try:
        refuse_without()
    except UserError:
        return False
    return True


needs_walls = pytest.mark.skipif(not available(), reason="namespaces are not to be had here")
