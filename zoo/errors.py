"""Errors that a user can act on: one line that says what is wrong, where, and what to do.

The command line prints them without a traceback and exits with status 2. A leaf module, like ``randomness``.
"""


class ZooError(ValueError):
    """Base of all errors that are the user's to mend."""


class UsageError(SystemExit):
    """What a parser complains of: no ZooError, because parsers try alternatives and swallow ValueErrors."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class DataError(ZooError):
    """The data are not what the run needs; names the file, the split or the sample."""


class NonFiniteError(ZooError):
    """A loss or a monitored metric is NaN or infinite; raised before the optimizer could use it."""


class ResumeError(ZooError):
    """A run cannot go on from this checkpoint with these settings."""
