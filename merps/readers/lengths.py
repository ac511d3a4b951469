"""Whether a file is as long as its header says, without gaps, and fit for MNE."""

import re
import struct
from pathlib import Path

from merps.errors import DataError, mismatch
from merps.readers.edf import read_edf_header, require_continuous
from merps.readers.mat5_soundness import require_sound

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
        _require_edf(path)
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


def _require_edf(path: Path) -> None:
    """Compare the size of an EDF or BDF file with its number of records."""
    header = read_edf_header(path)
    # The number of records is not known while it is being recorded.
    if header is None or header.n_records < 0 or header.record_bytes <= 0:
        return
    expected = header.n_bytes + header.n_records * header.record_bytes
    found = path.stat().st_size
    if found == expected:
        require_continuous(path, header)
        return
    duration_s = header.duration_s
    raise _wrong_length(
        path,
        expected,
        found,
        f"{header.n_records} records of {duration_s:g} s and {header.record_bytes} "
        "bytes",
        header.record_bytes / duration_s if duration_s > 0 else 0.0,
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
        interval_us = float(facts["SamplingInterval"])
    except (OSError, ValueError, KeyError):  # MNE says what is wrong with such a header
        return
    if sample <= 0:
        return
    if not data.is_file():
        raise mismatch(
            path,
            expected=f"the file {name[:80]} beside it, which it names as its data",
            found="none",
            remedy="copy it there; where files were renamed, DataFile and MarkerFile "
            "in the header must say so",
        )
    found = data.stat().st_size
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
