import re

import numpy as np
import pytest
from recorded import write_edf, write_eeg
from written import shared, write_brainvision, write_set

from merps.errors import DataError
from merps.readers.lengths import require_length
from merps.readers.neuro import open_neuro


@pytest.fixture
def edf(rng, tmp_path):
    signal = 50 * rng.normal(size=(3, 800))
    return write_edf(tmp_path / "a.edf", signal, ["Cz", "Fp1", "O2"], rate_hz=100)


def test_a_file_of_the_right_length_is_read(edf):
    (stream,) = open_neuro(edf)
    assert stream.header.signal.shape == stream.load().signal.shape == (3, 800)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (-300, "300 shorter, 0.5 s of signal"),
        (-1200, "1200 shorter, 2 s of signal"),
        (600, "600 longer, 1 s of signal"),
        (1, "1 longer"),
    ],
)
def test_another_length_is_refused_and_told(edf, change, how):
    data = edf.read_bytes()
    edf.write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(DataError, match=re.escape(how)) as caught:
        open_neuro(edf)
    assert f"expected {len(data)} bytes (8 records of 1 s" in str(caught.value)
    assert "copy or download the file again" in str(caught.value)


def test_line_ends_that_a_transfer_changed(edf):
    data = edf.read_bytes()
    edf.write_bytes(data.replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match="each LF became CR LF"):
        open_neuro(edf)


def test_a_number_of_records_that_is_not_known_yet(edf):
    data = bytearray(edf.read_bytes())
    data[236:244] = b"-1      "
    edf.write_bytes(data)
    (stream,) = open_neuro(edf)
    assert stream.header.n_times == 800


@pytest.mark.parametrize("gap_s", [0, 3])
def test_gaps_between_records_are_not_bridged(rng, tmp_path, gap_s):
    marks = np.zeros((1, 800))
    path = write_edf(
        tmp_path / "a.edf",
        np.concatenate([50 * rng.normal(size=(1, 800)), marks]),
        ["Cz", "EDF Annotations"],
        rate_hz=100,
    )
    data = bytearray(path.read_bytes())
    data[192:197] = b"EDF+D"
    for record in range(8):
        start_s = record + (gap_s if record > 4 else 0)
        text = f"+{start_s}\x14\x14\x00".encode()
        at = 256 * 3 + record * 400 + 200
        data[at : at + len(text)] = text
    path.write_bytes(data)
    if gap_s:
        with pytest.raises(DataError, match="a gap of 3 s after record 5 of 8"):
            open_neuro(path)
    else:
        assert open_neuro(path)[0].header.n_times == 800


def test_brainvision_that_ends_inside_a_sample(rng, tmp_path):
    path = write_brainvision(
        tmp_path / "a.vhdr", rng.normal(size=(3, 400)), ["Cz", "Fp1", "O2"]
    )
    assert open_neuro(path)[0].header.n_times == 400
    data = path.with_suffix(".eeg")
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"expected 4788 bytes .* 7 longer"):
        open_neuro(path)


@pytest.mark.parametrize("name", ["S001R03.edf", "S001R07.edf"])
def test_the_transfer_that_changed_line_ends_of_a_real_file(tmp_path, name):
    data = (shared("eeg-eegmmidb-64ch") / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data.replace(b"\n", b"\r\n"))
    with pytest.raises(DataError, match=r"longer, .* each LF became CR LF"):
        open_neuro(path)


def test_noise_of_any_header_is_left_to_mne(rng, tmp_path):
    path = tmp_path / "a.edf"
    for n in (0, 100, 256, 3000):
        path.write_bytes(rng.integers(0, 256, size=n, dtype=np.uint8).tobytes())
        with pytest.raises(DataError, match="cannot be read as a recording"):
            open_neuro(path)


def test_parts_of_fif_that_lead_back_are_refused(rng, tmp_path):
    path = write_eeg(tmp_path / "a_raw.fif", rng.normal(size=(2, 500)), ["Cz", "Pz"])
    require_length(path)
    data = bytearray(path.read_bytes())
    data[28:32] = (0).to_bytes(4, "big")  # where the second part is: right behind
    at = 36
    data[at + 12 : at + 16] = at.to_bytes(4, "big")  # the part itself comes next
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"a part that leads back to byte {at}; copy"):
        open_neuro(path)


def test_brainvision_without_its_data(rng, tmp_path):
    path = write_brainvision(
        tmp_path / "a.vhdr", rng.normal(size=(2, 99)), ["Cz", "Pz"]
    )
    path.with_suffix(".eeg").rename(tmp_path / "b.eeg")
    message = r"a\.vhdr: expected the file a\.eeg beside it.*DataFile and MarkerFile"
    with pytest.raises(DataError, match=message):
        open_neuro(path)


@pytest.mark.parametrize("change", ["NumberOfChannels=0", "SamplingInterval=x"])
def test_brainvision_headers_of_nonsense(rng, tmp_path, change):
    path = write_brainvision(
        tmp_path / "a.vhdr", rng.normal(size=(2, 99)), ["Cz", "Pz"]
    )
    name = change.partition("=")[0]
    text = re.sub(rf"{name}=\S+", change, path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.vhdr"):
        open_neuro(path)


@pytest.mark.parametrize("n_times", [399, 400, 401])
def test_samples_of_eeglab_beside_the_header(rng, tmp_path, n_times):
    signal = rng.normal(size=(2, 400))
    path = write_set(tmp_path / "a.set", signal, ["Cz", "Pz"], data="a.fdt")
    samples = np.pad(signal, [(0, 0), (0, 1)])[:, :n_times]
    path.with_suffix(".fdt").write_bytes(samples.T.astype("<f4").tobytes())
    if n_times == 400:
        (stream,) = open_neuro(path)
        np.testing.assert_allclose(1e6 * stream.load().signal, signal, atol=1e-6)
        return
    with pytest.raises(
        DataError, match=r"a\.fdt: expected 3200 bytes .* 8 (short|long)"
    ):
        open_neuro(path)
