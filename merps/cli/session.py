"""What all commands share: output, progress, errors and exit codes."""

import functools
import inspect
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from merps.errors import MerpsError, SpaceError

if TYPE_CHECKING:  # loaded only where a terminal or a table needs it
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

# Options that every command has.
_COMMON = {
    "as_json": Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ],
    "quiet": Annotated[
        bool, typer.Option("--quiet", help="Print errors only, and JSON if asked for.")
    ],
    "debug": Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and every log line.")
    ],
}
_INTERNAL_ERROR, _BROKEN_PIPE = 70, 141
_NARROW = 100


class Session:
    """Where one command writes its results and tells how far it is.

    Parameters
    ----------
    as_json : bool
        Results go to standard output as one JSON object.
    quiet : bool
        Nothing but errors and, as JSON, the result.
    debug : bool
        Show tracebacks and every log line.
    """

    def __init__(self, *, as_json: bool, quiet: bool, debug: bool) -> None:
        self.as_json, self.quiet, self.debug = as_json, quiet, debug
        self.on_terminal = sys.stderr.isatty()

    @functools.cached_property
    def err(self) -> "Console":
        """Standard error where it is a terminal."""
        return _console(stderr=True)

    def say(self, text: str) -> None:
        """Tell a person something; machines asked for JSON only.

        Parameters
        ----------
        text : str
            One or more lines, taken as they are.
        """
        if not (self.quiet or self.as_json):
            print(text)

    def show(self, table: "Table") -> None:
        """Print a table for a person.

        Parameters
        ----------
        table : rich.table.Table
            The table.
        """
        if not (self.quiet or self.as_json):
            self._out().print(table)

    @property
    def width(self) -> int:
        """How many columns a table may have."""
        return self._out().width

    def _out(self) -> "Console":
        """Return standard output as something to print tables on."""
        out = _console()
        if not out.is_terminal:
            # A file or a pipe has no width; tables must not be cut to 80 columns.
            out.width = max(out.width, _NARROW)
        return out

    def result(self, content: dict[str, Any]) -> None:
        """Print the result for a machine, where it was asked for.

        Parameters
        ----------
        content : dict
            What JSON can hold.
        """
        if self.as_json:
            print(json.dumps(content, indent=1))

    def warn(self, text: str) -> None:
        """Tell a person of something that went wrong but not all the way.

        Parameters
        ----------
        text : str
            One line.
        """
        self.note(text, style="yellow")

    def note(self, text: str, *, style: str | None = None) -> None:
        """Print a line on standard error, above a progress bar if there is one.

        Parameters
        ----------
        text : str
            One or more lines, taken as they are.
        style : str, optional
            Color on a terminal.
        """
        if self.on_terminal:
            self.err.print(text, style=style, soft_wrap=True)
        else:
            print(text, file=sys.stderr)

    @contextmanager
    def progress(self, title: str) -> Iterator["Steps"]:
        """Show how far something is: a bar on a terminal, plain lines elsewhere.

        Parameters
        ----------
        title : str
            What is being done.

        Yields
        ------
        Steps
            To be told of each step.
        """
        if self.quiet:
            yield Steps(title)
        elif not self.on_terminal:
            yield Steps(title, tell=self.note)
        else:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            bar = Progress(
                TextColumn("{task.description:<12}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]:<20}", markup=False),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self.err,
            )
            with bar:
                yield Steps(title, bar=bar)


class Steps:
    """Counts the steps of one piece of work.

    Parameters
    ----------
    title : str
        What is being done.
    bar : rich.progress.Progress, optional
        Shows it on a terminal.
    tell : callable, optional
        Gets lines instead: one a step, or one for every hundredth of many steps.
    """

    def __init__(
        self,
        title: str,
        *,
        bar: "Progress | None" = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._title, self._bar, self._tell = title, bar, tell
        self._task = bar and bar.add_task(title, total=None, unit="")
        self._total: int | None = None
        self._done = 0

    def expect(self, total: int) -> None:
        """Say how many steps there will be.

        Parameters
        ----------
        total : int
            Their number.
        """
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def done(self, unit: str) -> None:
        """Count one step.

        Parameters
        ----------
        unit : str
            What is finished.
        """
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1, unit=unit)
        elif self._tell is not None and self._is_told():
            of = "" if self._total is None else f"/{self._total}"
            self._tell(f"{self._title} {self._done}{of} {unit}")

    def _is_told(self) -> bool:
        """Tell whether a hundredth of the work is full; logs are read by people."""
        total = max(self._total or 0, 100)
        return self._done * 100 // total > (self._done - 1) * 100 // total


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Give a command the options of all commands, and turn errors into exit codes.

    Parameters
    ----------
    function : callable
        Takes a `Session` first, then the command's own options; returns its exit
        code, or None for 0.

    Returns
    -------
    callable
        What Typer registers.
    """
    common = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation
        )
        for name, annotation in _COMMON.items()
    ]

    @functools.wraps(function)
    def run(**options: Any) -> None:
        session = Session(**{p.name: options.pop(p.name) for p in common})
        try:
            with _logging(session):
                code = function(session, **options)
        except KeyboardInterrupt:
            session.warn(
                "interrupted; nothing is half written, run the same command again"
            )
            sys.stdout.flush()
            os._exit(130)  # threads of a second Ctrl-C would keep the process waiting
        except MerpsError as error:
            _report(session, str(error))
            code = error.exit_code
        except BrokenPipeError:
            # Whoever read the output has left; nothing more can be told.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = _BROKEN_PIPE
        except OSError as error:
            _report(session, str(error))
            code = SpaceError.exit_code
        except MemoryError:
            _report(session, "out of memory; run with fewer --jobs")
            code = SpaceError.exit_code
        except Exception as error:  # a fault of ours; the user gets one line
            _report(
                session,
                f"internal error: {type(error).__name__}: {error}\nthis is a fault of "
                "merps; run again with --debug and report what it prints",
            )
            code = _INTERNAL_ERROR
        raise typer.Exit(code or 0)

    own = list(inspect.signature(function).parameters.values())[1:]
    run.__signature__ = inspect.Signature([*own, *common])
    del run.__wrapped__
    return run


def _report(session: Session, text: str) -> None:
    """Print an error, with the traceback where it was asked for."""
    if session.debug:
        traceback.print_exc()
    session.note(f"error: {text}", style="red")


def _console(**options: Any) -> "Console":
    """Return a console that takes nothing for markup: names come from files."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **options)


class _LogLines(logging.Handler):
    """Prints log lines beside a progress bar, each on one line."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        try:
            self._session.note(f"{record.levelname.lower()}: {self.format(record)}")
        except Exception:  # a log line never ends the work
            self.handleError(record)


@contextmanager
def _logging(session: Session) -> Iterator[None]:
    """Send log lines to standard error, without disturbing a progress bar."""
    logger = logging.getLogger("merps")
    former = (logger.level, logger.propagate)
    level = logging.ERROR if session.quiet else logging.WARNING
    handler = _LogLines(session)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if session.debug else level)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(former[0])
        logger.propagate = former[1]
