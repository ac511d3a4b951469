"""Whether a file is as long as its header says, without gaps, and fit for MNE."""

import re
import struct
from itertools import pairwise
from pathlib import Path

from merps.errors import DataError, mismatch
from merps.readers.mat5_soundness import require_sound

_EDF_HEAD, _EDF_CHANNEL = 256, 256
#: Where the number of samples of each channel begins, in bytes per channel.
_EDF_SAMPLES = 216
_GAP_S = 0.001
_FIF_TAG = 16
_VHDR_BYTES = {"INT_16": 2, "UINT_16": 2, "IEEE_FLOAT_32": 4}


def require_length(path: Path) -> None:
    """Refuse a file that is shorter or longer than its header says, or has gaps.

    EDF, BDF and BrainVision state their length. Of FIF and EEGLAB, damage is refused
    that MNE would not come back from. Other formats are left to MNE.

    Parameters
    ----------
    path : Path
        The file; of BrainVision, the header.

    Raises
    ------
    DataError
        With the number of bytes that are missing or too many, the first gap, or the
        damage.
    """
    suffix = path.suffix.lower()
    if suffix in {".edf", ".bdf"}:
        _require_edf(path, 3 if suffix == ".bdf" else 2)
    elif suffix == ".vhdr":
        _require_brainvision(path)
    elif suffix == ".fif":
        _require_chain(path)
    elif suffix == ".set":
        require_sound(path)


def require_samples(path: Path, n_channels: int, n_times: int) -> None:
    """Refuse single-precision samples that are fewer or more than announced.

    Parameters
    ----------
    path : Path
        A file of nothing but samples, such as the ``.fdt`` of EEGLAB.
    n_channels, n_times : int
        As another file announces them.

    Raises
    ------
    DataError
        With the number of bytes that are missing or too many.
    """
    expected, found = 4 * n_channels * n_times, path.stat().st_size
    if found != expected:
        what = f"{n_times} samples of {4 * n_channels} bytes"
        raise _wrong_length(path, expected, found, what, 0.0)


def _require_chain(path: Path) -> None:
    """Refuse a FIF file whose tags lead back; MNE would go in circles."""
    seen, at = set(), 0
    with path.open("rb") as file:
        while at not in seen:
            seen.add(at)
            file.seek(at)
            head = file.read(_FIF_TAG)
            if len(head) < _FIF_TAG:
                return
            n_bytes, after = struct.unpack(">ii", head[8:])
            at = after or at + _FIF_TAG + n_bytes
            if at < 0:
                return
    raise mismatch(
        path,
        expected="parts that follow each other",
        found=f"a part that leads back to byte {at}",
        remedy="copy or download the file again",
    )


def _require_edf(path: Path, sample_bytes: int) -> None:
    """Compare the size of an EDF or BDF file with its number of records."""
    try:
        with path.open("rb") as file:
            head = file.read(_EDF_HEAD)
            n_channels = int(head[252:256])
            samples_at = _EDF_HEAD + n_channels * _EDF_SAMPLES
            head += file.read(n_channels * _EDF_CHANNEL)
        if n_channels > 0 and len(head) < _EDF_HEAD + n_channels * _EDF_CHANNEL:
            raise mismatch(
                path,
                expected=f"a header of {_EDF_HEAD + n_channels * _EDF_CHANNEL} bytes "
                f"for {n_channels} channels",
                found=f"a file of {len(head)}",
                remedy="copy or download the file again",
            )
        sizes = [
            int(head[samples_at + 8 * k : samples_at + 8 * k + 8])
            for k in range(n_channels)
        ]
        n_records, duration_s = int(head[236:244]), float(head[244:252])
    except (OSError, ValueError):  # MNE says what is wrong with such a header
        return
    record = sample_bytes * sum(sizes)
    if n_records < 0 or record <= 0:  # unknown while it was being recorded
        return
    expected = len(head) + n_records * record
    found = path.stat().st_size
    if found == expected:
        if head[192:197] in (b"EDF+D", b"BDF+D"):
            _require_continuous(path, head, sizes, sample_bytes, n_records, duration_s)
        return
    raise _wrong_length(
        path,
        expected,
        found,
        f"{n_records} records of {duration_s:g} s and {record} bytes",
        record / duration_s if duration_s > 0 else 0.0,
    )


def _require_continuous(
    path: Path,
    head: bytes,
    sizes: list[int],
    sample_bytes: int,
    n_records: int,
    duration_s: float,
) -> None:
    """Refuse records between which time was not recorded; MNE would join them."""
    labels = [
        head[_EDF_HEAD + 16 * k : _EDF_HEAD + 16 * k + 16] for k in range(len(sizes))
    ]
    marks = [k for k, label in enumerate(labels) if b"Annotations" in label]
    if not marks:
        return
    begin = sample_bytes * sum(sizes[: marks[0]])
    starts_s = []
    with path.open("rb") as file:
        for number in range(n_records):
            file.seek(len(head) + number * sample_bytes * sum(sizes) + begin)
            onset = file.read(sample_bytes * sizes[marks[0]]).partition(b"\x14")[0]
            try:
                starts_s.append(float(onset))
            except ValueError:
                return
    for number, (start_s, next_s) in enumerate(pairwise(starts_s)):
        gap_s = next_s - start_s - duration_s
        if abs(gap_s) > _GAP_S:
            raise mismatch(
                path,
                expected="records that follow each other",
                found=f"a gap of {gap_s:.4g} s after record {number + 1} of "
                f"{n_records} (EDF+D)",
                remedy="split the file at its gaps",
            )


def _require_brainvision(path: Path) -> None:
    """Compare the size of the data of a BrainVision file with its header."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        facts = dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(.*?)\s*$", text))
        n_channels = int(facts["NumberOfChannels"])
        name = facts["DataFile"].replace("$b", path.stem)
        sample = n_channels * _VHDR_BYTES[facts.get("BinaryFormat", "INT_16")]
        data = path.parent / name
        found = data.stat().st_size
        interval_us = float(facts["SamplingInterval"])
    except (OSError, ValueError, KeyError):  # MNE says what is wrong with such a header
        return
    if sample <= 0:
        return
    n_points = int(facts["DataPoints"]) if facts.get("DataPoints", "").isdigit() else 0
    expected = sample * (n_points or found // sample)
    if found != expected:
        per_second = sample * 1e6 / interval_us if interval_us > 0 else 0.0
        what = f"{expected // sample} samples of {sample} bytes"
        raise _wrong_length(data, expected, found, what, per_second)


def _wrong_length(
    path: Path, expected: int, found: int, what: str, per_second: float
) -> DataError:
    """Say by how much a file is too long or too short."""
    off = abs(found - expected)
    how = "longer" if found > expected else "shorter"
    span = f", {off / per_second:.3g} s of signal" if per_second else ""
    remedy = "copy or download the file again"
    if found > expected and _count_crlf(path, off + 1) >= off:
        remedy = (
            "as many bytes as there are line ends: each LF became CR LF in a transfer "
            "as text, transfer it again as binary"
        )
    return mismatch(
        path,
        expected=f"{expected} bytes ({what})",
        found=f"{found}, {off} {how}{span}",
        remedy=remedy,
    )


def _count_crlf(path: Path, at_most: int) -> int:
    """Count pairs of CR and LF, up to a number."""
    n, last = 0, b""
    with open(path, "rb") as file:
        while n < at_most and (block := file.read(2**20)):
            n += (last + block).count(b"\r\n")
            last = block[-1:] if block.endswith(b"\r") else b""
    return min(n, at_most)
