import numpy as np
import pytest

from merps.errors import InputError
from merps.preprocessing.electrodes import (
    as_raw,
    interpolation_weights,
    place_electrodes,
)
from merps.preprocessing.references import (
    average_weights,
    infinity_weights,
    mastoid_weights,
    rereference,
)

NAMES = tuple(
    "FP1 FP2 F7 F3 FZ F4 F8 T7 C3 CZ C4 T8 P7 P3 PZ P4 P8 O1 O2 M1 M2 CB1".split()
)


@pytest.fixture(scope="module")
def positions():
    return place_electrodes(NAMES)


@pytest.fixture
def smooth_ct(rng, positions):
    """Potentials that change slowly over the head, as far as places are known."""
    known = np.nan_to_num(positions) / 0.1
    return known @ rng.normal(size=(3, 500)) + 3 * rng.normal(size=500)


def test_electrodes_are_placed_by_name_or_as_given(positions):
    assert np.isnan(positions).all(axis=1).tolist() == [n == "CB1" for n in NAMES]
    np.testing.assert_array_equal(place_electrodes(["Cz", "cZ"])[0], positions[9])
    assert positions[0, 0] < 0 < positions[1, 0]  # FP1 is left of FP2
    given = np.full((2, 3), np.nan)
    assert np.isfinite(place_electrodes(["C3", "C4"], given)).all()
    given[0] = 0.05
    np.testing.assert_array_equal(place_electrodes(["C3", "C4"], given), given)


def test_interpolation_equals_mne(rng, positions):
    import mne

    placed = positions[:-1]
    x_ct = 1e-5 * rng.normal(size=(21, 100))
    bad = np.isin(NAMES[:-1], ["CZ", "P8"])
    raw = as_raw(x_ct, rate_hz=100.0, positions=placed)
    raw.info["bads"] = [raw.ch_names[9], raw.ch_names[16]]
    expected = raw.interpolate_bads(verbose="error").get_data()
    weights = interpolation_weights(placed, bad)
    np.testing.assert_allclose(weights @ x_ct[~bad], expected[bad], rtol=1e-9)
    np.testing.assert_array_equal(expected[~bad], x_ct[~bad])
    assert isinstance(raw, mne.io.BaseRaw)


def test_a_smooth_field_is_interpolated(smooth_ct, positions):
    bad = np.isin(NAMES[:-1], ["CZ", "PZ"])
    weights = interpolation_weights(positions[:-1], bad)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    found = weights @ smooth_ct[:-1][~bad]
    error = np.std(found - smooth_ct[:-1][bad], axis=1)
    assert (error < 0.15 * np.std(smooth_ct[:-1][bad], axis=1)).all()
    assert interpolation_weights(positions[:-1], np.zeros(21, bool)).shape == (0, 21)
    with pytest.raises(InputError, match=r"3 good channels .* what 18 bad ones saw"):
        interpolation_weights(positions[:-1], np.arange(21) > 2)


# References


def test_the_average_of_the_included_channels_is_zero(smooth_ct):
    included = np.array([name not in ("M1", "M2", "CB1") for name in NAMES])
    weights = average_weights(included)
    found = rereference(smooth_ct, weights)
    np.testing.assert_allclose(found[included].mean(axis=0), 0, atol=1e-12)
    # All channels keep their differences, and what they had in common is gone.
    np.testing.assert_allclose(found - found[0], smooth_ct - smooth_ct[0], atol=1e-12)
    shifted = rereference(smooth_ct + np.linspace(0, 50, 500), weights)
    np.testing.assert_allclose(shifted, found, atol=1e-12)
    again = rereference(found, weights)
    np.testing.assert_allclose(again, found, atol=1e-12)
    assert np.linalg.matrix_rank(found[included]) < included.sum()
    single = rereference(smooth_ct.astype(np.float32), weights)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, atol=1e-5)
    with pytest.raises(InputError, match="none of 3 channels can be averaged"):
        average_weights(np.zeros(3, bool))


def test_missing_channels_spread_only_where_they_weigh(smooth_ct):
    smooth_ct[21], smooth_ct[3, 7] = np.nan, np.nan
    weights = average_weights(np.arange(22) < 21)
    missing = np.isnan(rereference(smooth_ct, weights))
    assert missing[21].all()
    assert missing[:, 7].all()
    assert not missing[:21, 8:].any()


def test_mastoids_are_found_by_name(smooth_ct):
    weights = mastoid_weights([name.lower() for name in NAMES])
    found = rereference(smooth_ct, weights)
    np.testing.assert_allclose(found[19], -found[20], atol=1e-12)
    ears = mastoid_weights(["A1", "Cz", "A2", "TP9", "TP10"])
    assert ears.tolist() == [0.5, 0, 0.5, 0, 0]
    with pytest.raises(
        InputError, match=r"no mastoids among M1, Cz; expected M1 and M2"
    ):
        mastoid_weights(["M1", "Cz"])


def test_the_reference_at_infinity_is_nearer_to_it_than_the_average(rng, positions):
    import mne

    weights = infinity_weights(positions)
    assert weights.sum() == pytest.approx(1)
    assert weights[-1] == 0
    # Potentials of dipoles in a head, which are against infinity.
    placed = positions[:-1]
    raw = as_raw(np.zeros((21, 1)), rate_hz=1.0, positions=placed)
    head = mne.make_sphere_model("auto", "auto", raw.info, verbose="error")
    dipoles = mne.setup_volume_source_space(
        sphere=head, pos=20.0, mindist=8.0, exclude=45.0, verbose="error"
    )
    made = mne.make_forward_solution(
        raw.info, None, dipoles, head, meg=False, verbose="error"
    )["sol"]["data"]
    true_ct = np.zeros((22, 200))
    true_ct[:-1] = made @ rng.normal(size=(made.shape[1], 200))
    averaged, at_infinity = (
        rereference(true_ct - true_ct[9], w)[:-1] - true_ct[:-1]
        for w in (average_weights(np.arange(22) < 21), weights)
    )
    assert np.std(at_infinity) < 0.5 * np.std(averaged)
    few = np.where(np.arange(22)[:, None] < 3, positions, np.nan)
    with pytest.raises(InputError, match="positions of 3 channels are known"):
        infinity_weights(few)
