"""The first signal asks for a stop in good order; the second stops at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from isheep import drain
from isheep.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_for_a_stop(number: signal.Signals) -> None:
    before = {caught: signal.getsignal(caught) for caught in (signal.SIGINT, signal.SIGTERM)}
    with drain.on_signals():
        drain.stop_here()
        os.kill(os.getpid(), number)
        assert drain.wanted()
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
        with pytest.raises(Interrupted) as stopped:
            drain.stop_here()
        assert stopped.value.exit_code == 130
    assert not drain.wanted()
    assert {caught: signal.getsignal(caught) for caught in before} == before


@pytest.mark.parametrize(("pause", "code"), [(0.0, 7), (drain.ECHO_S + 0.5, -signal.SIGTERM)])
def test_a_second_sigterm_acts_unless_it_is_the_first_again(pause: float, code: int) -> None:
    program = f"""
import os, signal, sys, time
from isheep import drain
with drain.on_signals():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({pause})
    os.kill(os.getpid(), signal.SIGTERM)
    sys.exit(7)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == code
