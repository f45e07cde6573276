"""The errors that mien raises on purpose. Each is one sentence that says what was expected and what was got.

The command line prints the sentence and exits with the class's `exit_code`. Any other exception is a bug.
"""


class MienError(Exception):
    """The work failed for a reason that the user can act on. Exit code 1."""

    exit_code = 1


class UsageError(MienError):
    """The command or configuration was wrong before any work began. Exit code 2."""

    exit_code = 2


class OutputClosedError(MienError):
    """The reader of the output went away; there is nobody to tell."""

    exit_code = 0


class MissingExtraError(MienError):
    """An optional package is absent; the sentence names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'mien[{extra}]'.")


class UnknownTaskError(UsageError, LookupError):
    """A result was asked for a task that its model does not predict."""
