"""From light to hemoglobin: optical density, path lengths and the Beer-Lambert law."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

from merps.errors import InputError
from merps.preprocessing.extinction import extinction_table
from merps.repair_options import ExtinctionTable

#: What `beer_lambert` and `extinction` order their pigments by.
PIGMENTS = ("HbO", "HbR")
#: Wavelengths, in nanometers, and ages, in years, of the measurements behind
#: `pathlength_factor`, and how far from them its polynomial is still followed.
FITTED_NM = (690.0, 832.0)
_FOLLOWED_NM = (650.0, 900.0)
_FITTED_Y = (0.0, 50.0)
#: Source and detector that are farther apart do not see the same light, in meters; the
#: usual cause is a file whose unit of length is not what it says.
_FARTHEST_M = 0.1


def optical_density(
    intensity: Float[np.ndarray, "*row time"],
) -> Float64[np.ndarray, "*row time"]:
    """Turn light intensity into changes of optical density.

    ``-ln(I / mean(I))`` of each row, with the natural logarithm and the mean over the
    samples that are present.

    Parameters
    ----------
    intensity : ndarray of float, shape (..., time)
        Any linear unit; NaN marks samples that are missing.

    Returns
    -------
    ndarray of float64, shape (..., time)
        Without unit; NaN where a sample is missing or not positive, since there no
        light was seen that a logarithm could be taken of.

    References
    ----------
    D. T. Delpy et al., Estimation of optical pathlength through tissue from direct time
    of flight measurement, Physics in Medicine and Biology 33, 1988.
    """
    seen = np.where(intensity > 0, intensity, np.nan).astype(np.float64)
    return np.log(_present_mean(seen)) - np.log(seen)


def absorbance_to_density(
    absorbance: Float[np.ndarray, "*row time"],
) -> Float64[np.ndarray, "*row time"]:
    """Turn decadic absorbance into changes of optical density.

    ``ln(10) * (A - mean(A))`` of each row, as `optical_density` would make of the
    intensity ``10**-A`` but for its reference, which is here the geometric mean.

    Parameters
    ----------
    absorbance : ndarray of float, shape (..., time)
        ``-log10`` of transmitted over emitted light, as Shimadzu's devices give it; NaN
        marks samples that are missing.

    Returns
    -------
    ndarray of float64, shape (..., time)
        Without unit, natural logarithm; NaN where a sample is missing.
    """
    return math.log(10) * (absorbance - _present_mean(absorbance.astype(np.float64)))


def density_since_start(
    intensity: Float[np.ndarray, "*row time"],
) -> Float64[np.ndarray, "*row time"]:
    """Turn light intensity into changes of optical density since its first sample.

    As `optical_density`, but for the reference: no later sample has a part in it.

    Parameters
    ----------
    intensity : ndarray of float, shape (..., time)
        As for `optical_density`.

    Returns
    -------
    ndarray of float64, shape (..., time)
        As from `optical_density`; 0 at the first sample that is present.
    """
    logarithm = np.log(np.where(intensity > 0, intensity, np.nan).astype(np.float64))
    first = np.argmax(~np.isnan(logarithm), axis=-1)[..., None]
    return np.take_along_axis(logarithm, first, axis=-1) - logarithm


def extinction(
    wavelengths_nm: Sequence[float], *, table: ExtinctionTable
) -> Float64[np.ndarray, "wavelength 2"]:
    """Return how strongly hemoglobin absorbs light, interpolated linearly.

    Parameters
    ----------
    wavelengths_nm : sequence of float
        Wavelengths in nanometers, from 650 to 950.
    table : str
        Whose coefficients: ``prahl``, ``moaveni`` or ``takatani``.

    Returns
    -------
    ndarray of float64, shape (wavelength, 2)
        Molar extinction coefficients of HbO and HbR for the natural logarithm, in
        1/(m * mol/L): those of the table, which are decadic, times ln(10). MNE-Python
        rounds that to 2.303, so that its concentrations are smaller by 0.018 %.

    Raises
    ------
    InputError
        If a wavelength is outside the table.

    References
    ----------
    Y. Zhao et al., Optimal hemoglobin extinction coefficient data set for near-infrared
    spectroscopy, Biomedical Optics Express 8(11), 2017, compare such tables on blood
    and find Moaveni's nearest; `extinction_table` cites each.
    """
    nm_w, *columns = extinction_table(table).T
    outside = [nm for nm in wavelengths_nm if not nm_w[0] <= nm <= nm_w[-1]]
    if outside:
        raise InputError(
            f"wavelength of {outside[0]:g} nm is outside the table, which has "
            f"{nm_w[0]:g} to {nm_w[-1]:g} nm; give wavelengths in nanometers"
        )
    per_cm_lp = np.stack(
        [np.interp(wavelengths_nm, nm_w, column) for column in columns], axis=1
    )
    return 100 * math.log(10) * per_cm_lp


def pathlength_factor(
    wavelengths_nm: Sequence[float], *, age_y: float
) -> Float64[np.ndarray, " wavelength"]:
    """Return how much longer than its chord the way of light through a forehead is.

    ``223.3 + 0.05624 A**0.8493 - 5.723e-7 l**3 + 0.001245 l**2 - 0.9025 l`` for an age
    of A years and a wavelength of l nanometers: the differential pathlength factor that
    was fitted to measurements on foreheads from 690 to 832 nm and from 0 to 50 years.

    Parameters
    ----------
    wavelengths_nm : sequence of float
        Wavelengths in nanometers, from 650 to 900; what is outside `FITTED_NM` follows
        the same polynomial and is extrapolated.
    age_y : float
        Age in years; beyond 50, that of 50 is taken.

    Returns
    -------
    ndarray of float64, shape (wavelength,)
        Without unit, about 6 in adults.

    Raises
    ------
    InputError
        If the age is negative or a wavelength is too far from the measurements.

    References
    ----------
    F. Scholkmann and M. Wolf, General equation for the differential pathlength factor
    of the frontal human head depending on wavelength and age, Journal of Biomedical
    Optics 18(10), 105004, 2013.
    """
    if not age_y >= 0:
        raise InputError(f"age_y must not be negative, got {age_y:g}")
    nm_l = np.asarray(wavelengths_nm, dtype=np.float64)
    low_nm, high_nm = _FOLLOWED_NM
    if not ((nm_l >= low_nm) & (nm_l <= high_nm)).all():
        raise InputError(
            f"wavelengths_nm={', '.join(f'{nm:g}' for nm in nm_l)} must lie from "
            f"{low_nm:g} to {high_nm:g} nm, where pathlength factors are known; give "
            "the factors yourself"
        )
    age_y = min(age_y, _FITTED_Y[1])
    of_age = 223.3 + 0.05624 * age_y**0.8493
    return of_age + nm_l * (-0.9025 + nm_l * (0.001245 - 5.723e-7 * nm_l))


def beer_lambert(
    density: Float[np.ndarray, "wavelength channel time"],
    *,
    extinction: Float[np.ndarray, "wavelength pigment"],
    distance_m: Float[np.ndarray, " channel"],
    pathlength_factor: Float[np.ndarray, " wavelength"],
) -> Float64[np.ndarray, "pigment channel time"]:
    """Turn changes of optical density into changes of concentration.

    The modified Beer-Lambert law, ``density = extinction * concentration * distance *
    factor``, solved by least squares, which is exact for two wavelengths and two
    pigments.

    Parameters
    ----------
    density : ndarray of float, shape (wavelength, channel, time)
        Changes of optical density, natural logarithm; NaN marks samples that are
        missing.
    extinction : ndarray of float, shape (wavelength, pigment)
        Coefficients for the natural logarithm, in 1/(m * mol/L).
    distance_m : ndarray of float, shape (channel,)
        Distance of source and detector in meters; NaN where it is unknown.
    pathlength_factor : ndarray of float, shape (wavelength,)
        How much longer than that distance the way of the light is.

    Returns
    -------
    ndarray of float64, shape (pigment, channel, time)
        Changes of concentration in mol/L; NaN where a wavelength is missing or the
        distance is unknown.

    Raises
    ------
    InputError
        If there are fewer wavelengths than pigments or they cannot be told apart, if a
        distance is not between 0 and 0.1 m, or if a factor is not positive.

    References
    ----------
    D. T. Delpy et al., Estimation of optical pathlength through tissue from direct time
    of flight measurement, Physics in Medicine and Biology 33, 1988.
    """
    path_lp = _require_solvable(extinction, pathlength_factor)
    distance_c = _require_plausible(distance_m)
    unmix_pl = np.linalg.pinv(path_lp)
    return np.einsum("pl,lct->pct", unmix_pl, density / distance_c[:, None])


def absorb(
    concentration: Float[np.ndarray, "pigment channel time"],
    *,
    extinction: Float[np.ndarray, "wavelength pigment"],
    distance_m: Float[np.ndarray, " channel"],
    pathlength_factor: Float[np.ndarray, " wavelength"],
) -> Float64[np.ndarray, "wavelength channel time"]:
    """Return the optical density that changes of concentration make.

    The forward model that `beer_lambert` inverts.

    Parameters
    ----------
    concentration : ndarray of float, shape (pigment, channel, time)
        Changes in mol/L; NaN marks samples that are missing.
    extinction, distance_m, pathlength_factor : ndarray of float
        As for `beer_lambert`.

    Returns
    -------
    ndarray of float64, shape (wavelength, channel, time)
        Changes of optical density, natural logarithm; NaN as in `concentration`.

    Raises
    ------
    InputError
        As `beer_lambert`.
    """
    path_lp = _require_solvable(extinction, pathlength_factor)
    distance_c = _require_plausible(distance_m)
    return np.einsum("lp,pct->lct", path_lp, concentration * distance_c[:, None])


def _present_mean(x: Float64[np.ndarray, "*row time"]) -> Float64[np.ndarray, "*row 1"]:
    """Return the mean of the samples that are present; NaN where there are none."""
    present = ~np.isnan(x)
    total = np.sum(x, axis=-1, keepdims=True, where=present)
    count = present.sum(axis=-1, keepdims=True)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _require_solvable(
    extinction: Float[np.ndarray, "wavelength pigment"],
    pathlength_factor: Float[np.ndarray, " wavelength"],
) -> Float64[np.ndarray, "wavelength pigment"]:
    """Return the extinction along a path of unit distance, whose columns differ."""
    if not (pathlength_factor > 0).all():
        raise InputError(
            f"pathlength_factor must be positive, got {pathlength_factor.tolist()}"
        )
    path_lp = extinction * pathlength_factor[:, None].astype(np.float64)
    n_wavelengths, n_pigments = path_lp.shape
    if n_wavelengths < n_pigments or np.linalg.matrix_rank(path_lp) < n_pigments:
        raise InputError(
            f"{n_pigments} pigments cannot be told apart by {n_wavelengths} "
            "wavelengths with these coefficients; give at least as many that differ"
        )
    return path_lp


def _require_plausible(
    distance_m: Float[np.ndarray, " channel"],
) -> Float64[np.ndarray, " channel"]:
    """Return the distances, none of which may be absurd."""
    known = distance_m[~np.isnan(distance_m)]
    absurd = known[~((known > 0) & (known <= _FARTHEST_M))]
    if absurd.size:
        raise InputError(
            f"distance_m has {absurd[0]:g} m between a source and a detector, expected "
            f"more than 0 and at most {_FARTHEST_M:g} m; check the unit of length"
        )
    return distance_m.astype(np.float64)
