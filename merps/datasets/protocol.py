"""What the pipeline asks of a data set, whatever its layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from merps.datasets.layout import Problem
from merps.datasets.manifest import Role
from merps.datasets.survey import TrialFailure
from merps.recording import Trial


@runtime_checkable
class Plan(Protocol):
    """A trial as announced, before any signal is read."""

    person: str
    stimulus: str
    notes: tuple[str, ...]


@runtime_checkable
class OpenedPerson(Protocol):
    """The trials of one person; used in a ``with`` block."""

    @property
    def plans(self) -> tuple[Any, ...]:
        """Trials that can be read, in stimulus order."""

    @property
    def failures(self) -> tuple[TrialFailure, ...]:
        """What cannot be used, as far as can be told without signals."""

    def __enter__(self) -> "OpenedPerson": ...

    def __exit__(self, *_: object) -> None: ...

    def read(self, plan: Any) -> list[Trial | TrialFailure]:
        """Read one trial."""

    def view(self, plan: Any) -> list[Trial | TrialFailure]:
        """Read one trial without a look at the samples of its EEG."""

    def release(self, plan: Any) -> None:
        """Let go of the memory that a trial was read into."""

    def silent(self) -> list[TrialFailure]:
        """Tell which modalities had no finite sample in the trials read so far."""


@runtime_checkable
class Dataset(Protocol):
    """People and trials of a folder."""

    role: Role
    source: str
    terms: str
    problems: tuple[Problem, ...]
    seconds: Mapping[str, Mapping[str, int]]

    @property
    def root(self) -> Path:
        """Folder under which all files lie."""

    @property
    def people(self) -> tuple[str, ...]:
        """Names of the people."""

    @property
    def layout(self) -> str:
        """How the folder is laid out."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Options that decide the trials besides the files."""

    def input_files(self, person: str) -> tuple[Path, ...]:
        """List every file that decides this person's trials."""

    def sample_ids(self) -> list[str] | None:
        """Read the ids that are to be answered; None where none are listed."""

    def open_person(self, person: str) -> OpenedPerson:
        """Open a person's files."""
