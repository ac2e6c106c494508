"""The commands. No logic here: each reads its arguments, calls one function and prints what it returns."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from typing import NoReturn

import typer

from isheep import watchdog
from isheep.cli.app import app
from isheep.errors import IsheepError, UserError
from isheep.progress import say
from isheep.terminal import SafeLines

# Each adds its commands; the help shows them in this order.
# isort: off
from isheep.cli import planning as planning, running as running, looking as looking, leaving as leaving
# isort: on

NO_PLACE = (errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM)
"""What the system says of a path that cannot be what the user gave it for."""


def main() -> NoReturn:
    """The `isheep` command: one message and an exit code for every error that is not our own fault."""
    watchdog.may_replace_process()
    _log_safely()
    try:
        app(standalone_mode=False)
    except IsheepError as error:
        say(str(error))
        if error.goes_on:
            say("The same command goes on from here.")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        say("Stopped. The same command goes on from here.")
        sys.exit(130)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in NO_PLACE or error.filename is None:
            raise
        say(f"{error.filename}: cannot be used ({error.strerror}). Mend the path, or its rights.")
        sys.exit(UserError.exit_code)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("click", "typer"):
            say("".join(traceback.format_exception(error)).rstrip())
            sys.exit(1)
        error.show()  # type: ignore[attr-defined]
        sys.exit(2)
    sys.exit(0)


def _log_safely() -> None:
    """Warnings, those of libraries among them, go to standard error; a text of a model in them moves nothing there."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeLines("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)


__all__ = ["app", "main"]
