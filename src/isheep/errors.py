"""What can go wrong, as the user sees it: three kinds, one exit code each."""

from __future__ import annotations


class IsheepError(Exception):
    """Base of every error that the command line turns into one message and an exit code."""

    exit_code = 3
    goes_on = True
    """Whether the same command, given again, goes on from where it stopped."""


class UserError(IsheepError):
    """The user's mistake, found before anything is spent.

    Args:
        where: the file, key or argument that is wrong.
        what: what is wrong with it.
        mend: what to do about it.
    """

    exit_code = 2
    goes_on = False

    def __init__(self, where: str, what: str, mend: str) -> None:
        super().__init__(f"{where}: {what} {mend}")
        self.where = where
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """It comes whole out of another process, too."""
        return type(self), (self.where, self.what, self.mend)


class StageError(IsheepError):
    """A failure during the run that the same command continues from."""

    exit_code = 3


class NothingKept(StageError):
    """The filters left no pair to train on: the run goes on once a setting is changed and the change accepted."""

    goes_on = False


class Interrupted(IsheepError):
    """The user asked to stop; what is under way was drained and written."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """What another library's error says, in its first line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
