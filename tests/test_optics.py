from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merps.errors import InputError
from merps.preprocessing.optics import (
    absorb,
    absorbance_to_density,
    beer_lambert,
    density_since_start,
    extinction,
    optical_density,
    pathlength_factor,
)

#: Wavelengths of Homer3, Artinis and MER-PS recordings.
WAVELENGTHS = [(690.0, 830.0), (757.0, 852.0), (780.0, 805.0, 830.0)]


def options(wavelengths_nm, n_channels, distance_m=0.03, age_y=25.0):
    return {
        "extinction": extinction(wavelengths_nm, table="prahl"),
        "distance_m": np.full(n_channels, distance_m),
        "pathlength_factor": pathlength_factor(wavelengths_nm, age_y=age_y),
    }


def mne_recording(signal_lct, wavelengths_nm, kind, distance_m=0.03):
    """Channels in MNE's order, where the wavelengths of a pair are neighbors."""
    import mne

    n_wavelengths, n_channels, _ = signal_lct.shape
    names = [
        f"S{c}_D{c} {nm:g}" for c in range(1, n_channels + 1) for nm in wavelengths_nm
    ]
    info = mne.create_info(names, 10.0, kind, verbose="error")
    for row, channel in enumerate(info["chs"]):
        x = 0.01 * (row // n_wavelengths)
        middle, detector = (x, distance_m / 2, 0.0), (x, distance_m, 0.0)
        nm = wavelengths_nm[row % n_wavelengths]
        channel["loc"][:10] = [*middle, x, 0.0, 0.0, *detector, nm]
    flat = signal_lct.swapaxes(0, 1).reshape(len(names), -1)
    return mne.io.RawArray(flat, info, verbose="error")


@pytest.fixture
def intensity_lct(rng):
    return 1e5 * np.exp(0.1 * rng.normal(size=(2, 4, 300)))


# Optical density


def test_optical_density_equals_mne(intensity_lct):
    from mne.preprocessing import nirs

    raw = mne_recording(intensity_lct, (690, 830), "fnirs_cw_amplitude")
    expected = nirs.optical_density(raw).get_data().reshape(4, 2, -1).swapaxes(0, 1)
    np.testing.assert_allclose(optical_density(intensity_lct), expected, atol=1e-12)


def test_optical_density_has_no_unit_and_no_light_is_missing(intensity_lct):
    dark_lct = intensity_lct.copy()
    dark_lct[0, 0, 5], dark_lct[0, 1, 7], dark_lct[1, 2, :9] = 0.0, -3.0, np.nan
    dark_lct[1, 3] = np.nan
    before = dark_lct.copy()
    density_lct = optical_density(dark_lct)
    missing = np.zeros(dark_lct.shape, dtype=bool)
    missing[0, 0, 5] = missing[0, 1, 7] = missing[1, 2, :9] = missing[1, 3] = True
    np.testing.assert_array_equal(np.isnan(density_lct), missing)
    np.testing.assert_array_equal(dark_lct, before)
    scaled = optical_density(dark_lct * 1e-6)
    np.testing.assert_allclose(scaled, density_lct, atol=1e-12)
    view = optical_density(np.asfortranarray(dark_lct)[:, ::2])
    np.testing.assert_allclose(view, density_lct[:, ::2], atol=1e-12)
    # Twice as much light is ln 2 less dense, whatever the reference.
    step_t = optical_density(np.repeat([1.0, 2.0], 10))
    assert step_t[0] - step_t[-1] == pytest.approx(np.log(2))


def test_absorbance_is_density_of_the_same_light(intensity_lct):
    intensity_lct[0, 1, 3] = np.nan
    absorbance_lct = 2.0 - np.log10(intensity_lct / 1e5)
    expected = optical_density(intensity_lct)
    actual = absorbance_to_density(absorbance_lct)
    difference = actual - expected
    shift = np.nanmean(difference, axis=-1, keepdims=True)
    np.testing.assert_allclose(actual, expected + shift, atol=1e-12)
    np.testing.assert_allclose(np.nanmean(actual, axis=-1), 0, atol=1e-12)
    single = absorbance_to_density(absorbance_lct.astype(np.float32))
    np.testing.assert_allclose(single, actual, atol=1e-5)


def test_density_since_the_start_differs_by_its_reference(intensity_lct):
    intensity_lct[0, 1, :4], intensity_lct[1, 2] = np.nan, -1.0
    since = density_since_start(intensity_lct)
    shift = since - optical_density(intensity_lct)
    np.testing.assert_allclose(shift - shift[..., 9:10], 0 * since, atol=1e-12)
    assert since[0, 1, 4] == since[0, 0, 0] == 0
    assert np.isnan(since[1, 2]).all()


# What light meets


def test_extinction_equals_the_table_of_mne():
    from mne.preprocessing.nirs._beer_lambert_law import _load_absorption

    wavelengths_nm = [650, 690, 757, 805.5, 830, 949]
    expected = _load_absorption(wavelengths_nm) / 0.2303 * 100 * np.log(10)
    np.testing.assert_allclose(
        extinction(wavelengths_nm, table="prahl"), expected, rtol=1e-12
    )
    # Around 800 nm both absorb alike; below, HbR does more, and above, HbO.
    hbo_l, hbr_l = extinction([760, 797, 850], table="prahl").T
    assert hbr_l[0] > 2 * hbo_l[0]
    assert hbr_l[1] == pytest.approx(hbo_l[1], rel=0.05)
    assert hbo_l[2] > 1.4 * hbr_l[2]


@pytest.mark.parametrize("wavelengths_nm", WAVELENGTHS)
@pytest.mark.parametrize("table", ["moaveni", "takatani"])
def test_other_tables_tell_nearly_the_same(wavelengths_nm, table):
    tables = (extinction(wavelengths_nm, table=name) for name in (table, "prahl"))
    hbo_l, hbr_l = np.divide(*tables).T
    np.testing.assert_allclose(hbo_l, 1, atol=0.05)
    assert ((hbr_l > 1.03) & (hbr_l < 1.37)).all()
    law = options(wavelengths_nm, 2) | {
        "extinction": extinction(wavelengths_nm, table=table)
    }
    true_pct = 1e-6 * np.array([[[1.0], [0.0]], [[0.0], [-1.0]]])
    found_pct = beer_lambert(absorb(true_pct, **law), **law)
    np.testing.assert_allclose(found_pct, true_pct, atol=1e-15)
    prahl = options(wavelengths_nm, 2)
    other_pct = beer_lambert(absorb(true_pct, **law), **prahl)
    np.testing.assert_allclose(other_pct, true_pct, atol=0.4e-6)


@pytest.mark.parametrize(
    ("table", "wavelength_nm", "hbo", "hbr"),
    # https://omlc.org/spectra/hemoglobin/moaveni.html and takatani.html, 1/(cm mol/L)
    [
        ("moaveni", 690, 280, 2560),
        ("moaveni", 760, 600, 1720),
        ("moaveni", 785, 740, 1070),
        ("moaveni", 850, 1060, 800),
        ("takatani", 765, 616, 1640),
        ("takatani", 805, 880, 896),
        ("takatani", 830, 974, 826),
    ],
)
def test_tables_are_as_published(table, wavelength_nm, hbo, hbr):
    found_l = extinction([wavelength_nm], table=table)[0]
    np.testing.assert_allclose(found_l, 100 * np.log(10) * np.array([hbo, hbr]))


def test_extinction_refuses_other_units():
    for wavelength in (0.83, 649.0, 951.0, np.nan):
        with pytest.raises(InputError, match="has 650 to 950 nm"):
            extinction([690.0, wavelength], table="prahl")


@pytest.mark.parametrize(
    ("wavelength_nm", "at_birth", "slope", "power"),
    # Duncan et al. 1996, Measurement of cranial optical path length as a function of
    # age, Pediatric Research 39: the measurements that the general equation is of.
    [
        (690, 5.38, 0.049, 0.877),
        (744, 5.11, 0.106, 0.723),
        (807, 4.99, 0.067, 0.814),
        (832, 4.67, 0.062, 0.819),
    ],
)
def test_pathlength_factors_are_those_that_were_measured(
    wavelength_nm, at_birth, slope, power
):
    for age_y in (0, 5, 25, 50):
        measured = at_birth + slope * age_y**power
        (factor,) = pathlength_factor([wavelength_nm], age_y=age_y)
        assert factor == pytest.approx(measured, abs=0.35)


def test_pathlength_factors_keep_to_their_range():
    old, older = (pathlength_factor([760, 850], age_y=age) for age in (50, 80))
    np.testing.assert_array_equal(old, older)
    with pytest.raises(InputError, match="age_y must not be negative, got -1"):
        pathlength_factor([760], age_y=-1)
    with pytest.raises(InputError, match=r"760, 940 must lie from 650 to 900 nm"):
        pathlength_factor([760, 940], age_y=20)


# The Beer-Lambert law


@given(
    wavelengths_nm=st.sampled_from(WAVELENGTHS),
    p_missing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**16),
)
def test_beer_lambert_undoes_the_forward_model(wavelengths_nm, p_missing, seed):
    rng = np.random.default_rng(seed)
    micromoles_pct = rng.normal(size=(2, 3, 20))
    micromoles_pct[:, rng.random((3, 20)) < p_missing] = np.nan
    law = options(wavelengths_nm, 3, distance_m=rng.uniform(0.008, 0.05))
    density_lct = absorb(micromoles_pct * 1e-6, **law)
    assert density_lct.shape == (len(wavelengths_nm), 3, 20)
    found_pct = beer_lambert(density_lct, **law) * 1e6
    np.testing.assert_allclose(found_pct, micromoles_pct, rtol=1e-9, atol=1e-9)
    view = np.asfortranarray(density_lct)[:, ::-2]
    part = law | {"distance_m": law["distance_m"][::-2]}
    again_pct = beer_lambert(view, **part) * 1e6
    np.testing.assert_allclose(again_pct, micromoles_pct[:, ::-2], atol=1e-9)


@pytest.mark.parametrize("wavelengths_nm", WAVELENGTHS)
def test_beer_lambert_equals_mne(rng, wavelengths_nm):
    from mne.preprocessing import nirs
    from mne.preprocessing.nirs._beer_lambert_law import _load_absorption

    density_lct = 0.01 * rng.normal(size=(len(wavelengths_nm), 4, 200))
    law = options(wavelengths_nm, 4)
    raw = mne_recording(density_lct, wavelengths_nm, "fnirs_od")
    made = nirs.beer_lambert_law(raw, ppf=tuple(law["pathlength_factor"]))
    expected = made.get_data().reshape(4, 2, -1).swapaxes(0, 1)
    same = law | {"extinction": 1e3 * _load_absorption(wavelengths_nm)}
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        beer_lambert(density_lct, **same), expected, rtol=1e-9, atol=1e-11 * scale
    )
    rounded = beer_lambert(density_lct, **law) * (100 * np.log(10) / 230.3)
    np.testing.assert_allclose(rounded, expected, rtol=1e-9, atol=1e-11 * scale)


def test_three_wavelengths_have_the_weights_of_the_maker():
    # What toolboxes apply to absorbances of Shimadzu's devices, in mmol/L cm: another
    # table of extinction, so the same only by and large.
    maker_pl = [[-1.4887, 0.5970, 1.4847], [1.8545, -0.2394, -1.0947]]
    density_lct = absorbance_to_density(np.eye(3)[:, :, None] * [1.0, -1.0])
    weights_plt = beer_lambert(
        density_lct,
        extinction=extinction((780, 805, 830), table="prahl"),
        distance_m=np.full(3, 0.01),
        pathlength_factor=np.ones(3),
    )
    np.testing.assert_allclose(1e3 * weights_plt[..., 0], maker_pl, atol=0.1)


def test_unknown_distances_and_missing_wavelengths_are_missing():
    density_lct = np.ones((2, 3, 4))
    density_lct[1, 0, 2] = np.nan
    law = options((690, 830), 3)
    law["distance_m"][1] = np.nan
    missing = np.isnan(beer_lambert(density_lct, **law))
    assert missing[:, 0].tolist() == [[False, False, True, False]] * 2
    assert missing[:, 1].all()
    assert not missing[:, 2].any()


def test_the_law_refuses_what_it_cannot_solve():
    law = SimpleNamespace(density=np.ones((2, 3, 4)), **options((690, 830), 3))
    apart = vars(law) | {"extinction": np.ones((2, 2))}
    with pytest.raises(InputError, match="2 pigments cannot be told apart by 2 wave"):
        beer_lambert(apart.pop("density"), **apart)
    one = {"extinction": np.ones((1, 2)), "pathlength_factor": np.ones(1)}
    with pytest.raises(InputError, match="cannot be told apart by 1 wavelengths"):
        beer_lambert(np.ones((1, 3, 4)), distance_m=law.distance_m, **one)
    for distance_m in (0.0, -0.03, 3.0):
        far = options((690, 830), 3, distance_m=distance_m)
        with pytest.raises(InputError, match=f"has {distance_m:g} m .* unit of length"):
            beer_lambert(law.density, **far)
    none = options((690, 830), 3) | {"pathlength_factor": np.array([6.0, 0.0])}
    with pytest.raises(InputError, match=r"must be positive, got \[6.0, 0.0\]"):
        absorb(np.ones((2, 3, 4)), **none)
