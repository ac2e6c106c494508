"""The first signal asks for a stop in good order; the second is no longer caught."""

from __future__ import annotations

import os
import signal

import pytest

from isheep import drain
from isheep.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_acts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with drain.on_signals():
        drain.stop_here()
        os.kill(os.getpid(), number)
        assert drain.wanted()
        assert signal.getsignal(number) is before
        with pytest.raises(Interrupted) as stopped:
            drain.stop_here()
        assert stopped.value.exit_code == 130
    assert not drain.wanted()
    assert signal.getsignal(number) is before
