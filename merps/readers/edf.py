"""What the header of an EDF or BDF file says: length, gaps, rates and units."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from merps.errors import mismatch
from merps.readers.naming import type_by_name

_HEAD, _CHANNEL = 256, 256
#: Where the fields of channels begin, and their widths, in bytes per channel.
_LABEL, _UNIT, _SIZE = (0, 16), (96, 8), (216, 8)
_ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
_GAP_S = 0.001


@dataclass(frozen=True)
class EdfHeader:
    """Header of an EDF or BDF file.

    Parameters
    ----------
    labels, units : tuple of str
        Name and unit of each channel, those of annotations included.
    sizes : tuple of int
        Samples of each channel in one record.
    n_records : int
        Number of records; -1 while it was being recorded.
    duration_s : float
        Length of one record.
    sample_bytes : int
        2 of EDF, 3 of BDF.
    may_have_gaps : bool
        Whether records need not follow each other (EDF+D).
    """

    labels: tuple[str, ...]
    units: tuple[str, ...]
    sizes: tuple[int, ...]
    n_records: int
    duration_s: float
    sample_bytes: int
    may_have_gaps: bool

    @property
    def n_bytes(self) -> int:
        """Length of the header."""
        return _HEAD + _CHANNEL * len(self.labels)

    @property
    def record_bytes(self) -> int:
        """Length of one record."""
        return self.sample_bytes * sum(self.sizes)

    @property
    def signals(self) -> list[int]:
        """Numbers of the channels that are no annotations."""
        return [k for k, name in enumerate(self.labels) if name not in _ANNOTATIONS]

    def of_other_rates(self) -> tuple[str, ...]:
        """Name channels whose rate is not that of most EEG channels.

        Returns
        -------
        tuple of str
            Their labels; none that an EEG channel has, too.
        """
        eeg = [k for k in self.signals if type_by_name(self.labels[k], "eeg") == "eeg"]
        if not eeg:
            return ()
        most = Counter(self.sizes[k] for k in eeg)
        usual = max(most, key=lambda size: (most[size], size))
        kept = {self.labels[k] for k in self.signals if self.sizes[k] == usual}
        return tuple(
            dict.fromkeys(
                self.labels[k] for k in self.signals if self.labels[k] not in kept
            )
        )


def read_edf_header(path: Path) -> EdfHeader | None:
    """Read the header of an EDF or BDF file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    EdfHeader or None
        None of other files, and where a field cannot be read: MNE says what is wrong
        with such a header.

    Raises
    ------
    DataError
        If the file ends inside its header, or holds nothing but annotations.
    """
    suffix = path.suffix.lower()
    if suffix not in {".edf", ".bdf"}:
        return None
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            n_channels = int(head[252:256])
            fields = file.read(max(0, n_channels) * _CHANNEL)
        n_records, duration_s = int(head[236:244]), float(head[244:252])
    except (OSError, ValueError):
        return None
    if len(fields) < n_channels * _CHANNEL:
        raise mismatch(
            path,
            expected=f"a header of {_HEAD + n_channels * _CHANNEL} bytes for "
            f"{n_channels} channels",
            found=f"a file of {_HEAD + len(fields)}",
            remedy="copy or download the file again",
        )

    def column(place: tuple[int, int]) -> tuple[str, ...]:
        begin, width = place[0] * n_channels, place[1]
        return tuple(
            fields[begin + width * k : begin + width * (k + 1)]
            .decode("latin-1")
            .strip()
            for k in range(n_channels)
        )

    try:
        sizes = tuple(map(int, column(_SIZE)))
    except ValueError:
        return None
    header = EdfHeader(
        labels=column(_LABEL),
        units=column(_UNIT),
        sizes=sizes,
        n_records=n_records,
        duration_s=duration_s,
        sample_bytes=3 if suffix == ".bdf" else 2,
        may_have_gaps=head[192:197] in (b"EDF+D", b"BDF+D"),
    )
    if n_channels > 0 and not header.signals:
        raise mismatch(
            path,
            expected="channels of EEG",
            found="annotations alone",
            remedy="pass the recording that they belong to",
        )
    return header


def require_continuous(path: Path, header: EdfHeader) -> None:
    """Refuse records between which time was not recorded; MNE would join them.

    Parameters
    ----------
    path : Path
        The file, of the length that its header says.
    header : EdfHeader
        Its header.

    Raises
    ------
    DataError
        With the first gap.
    """
    marks = [k for k, label in enumerate(header.labels) if label in _ANNOTATIONS]
    if not marks or not header.may_have_gaps:
        return
    begin = header.n_bytes + header.sample_bytes * sum(header.sizes[: marks[0]])
    starts_s = []
    with path.open("rb") as file:
        for number in range(header.n_records):
            file.seek(begin + number * header.record_bytes)
            mark = file.read(header.sample_bytes * header.sizes[marks[0]])
            try:
                starts_s.append(float(mark.partition(b"\x14")[0]))
            except ValueError:
                return
    for number, (start_s, next_s) in enumerate(pairwise(starts_s)):
        gap_s = next_s - start_s - header.duration_s
        if abs(gap_s) > _GAP_S:
            raise mismatch(
                path,
                expected="records that follow each other",
                found=f"a gap of {gap_s:.4g} s after record {number + 1} of "
                f"{header.n_records} (EDF+D)",
                remedy="split the file at its gaps",
            )
