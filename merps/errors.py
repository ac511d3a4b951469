"""Every error that merps raises on purpose, and the exit code it ends with."""


class MerpsError(Exception):
    """An error with a message for the user; the command line prints it alone."""

    exit_code = 2


class InputError(MerpsError, ValueError):
    """An argument or an option that cannot be used as it is."""


class ConfigError(InputError):
    """A configuration file or an override that cannot be used as it is."""


class DataError(MerpsError):
    """A file or a variable that does not hold what it should."""

    exit_code = 3


class MisfitError(InputError, DataError):
    """An option that does not fit one recording; it may fit others."""

    exit_code = 2


class SpaceError(MerpsError):
    """Too little disk space or memory, or a place that cannot be written."""

    exit_code = 4


class LockedError(MerpsError):
    """Another process works on the same store or run."""

    exit_code = 5


def mismatch(where: object, *, expected: str, found: str, remedy: str) -> DataError:
    """Say what a file should hold, what it holds, and the way out.

    Parameters
    ----------
    where : object
        The file, and the variable in it, as text or path.
    expected, found : str
        What was needed and what came.
    remedy : str
        What the user can do, as a full clause.

    Returns
    -------
    DataError
        The error, to be raised by the caller.
    """
    return DataError(f"{where}: expected {expected}, found {found}; {remedy}")
