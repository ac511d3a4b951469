import mne_nirs.signal_enhancement
import numpy as np
import pytest
from test_optics import mne_recording

from merps.errors import InputError
from merps.preprocessing.short_channels import regress_short_channels

#: Long, short, long, short, long; the middles of the channels lie on a line.
DISTANCE_M = np.array([0.03, 0.008, 0.03, 0.008, 0.03])
POSITIONS = np.array(
    [[0.0, 0, 0], [0.01, 0, 0], [0.02, 0, 0], [0.05, 0, 0], [0.06, 0, 0]]
)
OPTIONS = {"distance_m": DISTANCE_M, "positions": POSITIONS, "max_short_m": 0.01}


@pytest.fixture
def density_lct(rng):
    return 0.01 * rng.normal(size=(2, 5, 400))


def test_scalp_is_taken_out_and_brain_stays(density_lct, rng):
    brain_lct = density_lct.copy()
    brain_lct[:, [1, 3]] = 0
    scalp_lt = 0.1 * rng.normal(size=(2, 2, 400))
    seen_lct = brain_lct + scalp_lt[:, [0, 0, 0, 1, 1]]
    found = regress_short_channels(seen_lct, **OPTIONS)
    long = [0, 2, 4]
    error = np.std(found[:, long] - brain_lct[:, long], axis=-1)
    assert (error < 0.1 * np.std(scalp_lt, axis=-1).min()).all()
    np.testing.assert_array_equal(found[:, [1, 3]], seen_lct[:, [1, 3]])
    # Nothing that is left goes along with the nearest short channel.
    shared = np.sum(found[:, long] * seen_lct[:, [1, 1, 3]], axis=-1)
    np.testing.assert_allclose(shared, 0, atol=1e-12)


def test_regression_equals_mne_nirs(density_lct):
    # With one kind only: MNE-NIRS takes the short channel of the first wavelength for
    # all of them.
    raw = mne_recording(density_lct, (690, 830), "fnirs_od")
    for row, channel in enumerate(raw.info["chs"]):
        c = row // 2
        channel["loc"][:3] = POSITIONS[c]
        channel["loc"][3:6] = POSITIONS[c] - [0, DISTANCE_M[c] / 2, 0]
        channel["loc"][6:9] = POSITIONS[c] + [0, DISTANCE_M[c] / 2, 0]
    made = mne_nirs.signal_enhancement.short_channel_regression(raw)
    expected = made.get_data().reshape(5, 2, -1)[:, 0]
    found = regress_short_channels(density_lct[0], **OPTIONS)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-14)


def test_kinds_units_order_and_layout(density_lct):
    expected = regress_short_channels(density_lct, **OPTIONS)
    for kind in (0, 1):
        alone = regress_short_channels(density_lct[kind], **OPTIONS)
        np.testing.assert_allclose(alone, expected[kind], rtol=1e-12)
    order = [4, 2, 0, 3, 1]
    turned = OPTIONS | {"distance_m": DISTANCE_M[order], "positions": POSITIONS[order]}
    view = np.asfortranarray(1e6 * density_lct)[:, order]
    found = regress_short_channels(view, **turned)
    np.testing.assert_allclose(found, 1e6 * expected[:, order], rtol=1e-9)


def test_what_is_missing_or_unknown(density_lct):
    density_lct[0, 1, 50:60] = np.nan
    density_lct[1, 3] = np.nan
    density_lct[0, 4, 9] = np.nan
    unknown = OPTIONS | {"positions": POSITIONS.copy()}
    unknown["positions"][2] = np.nan
    found = regress_short_channels(density_lct, **unknown)
    assert np.isnan(found[0, 0]).nonzero()[0].tolist() == list(range(50, 60))
    assert np.isnan(found[0, 4]).nonzero()[0].tolist() == [9]
    np.testing.assert_array_equal(found[:, 2], density_lct[:, 2])
    # The next short channel helps out where the nearest one has no samples.
    assert not np.isnan(found[1, 4]).any()
    assert np.sum(found[1, 4] * density_lct[1, 1]) == pytest.approx(0, abs=1e-12)
    density_lct[1, 1] = 0
    found = regress_short_channels(density_lct, **OPTIONS)
    np.testing.assert_array_equal(found[1], density_lct[1])


def test_regression_needs_short_and_long_channels(density_lct):
    for max_short_m, counts in ((0.001, "0 channels .* 5"), (0.1, "5 channels .* 0")):
        with pytest.raises(InputError, match=counts):
            regress_short_channels(
                density_lct, **OPTIONS | {"max_short_m": max_short_m}
            )
