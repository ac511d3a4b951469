import pytest

from merps.readers.units import plain_unit, volts_in


@pytest.mark.parametrize(
    "unit", ["uV", "\u00b5V", "\u03bcV", "\x83\xcaV", " UV ", "microvolts"]
)
def test_every_way_to_write_microvolts(unit):
    assert volts_in(unit) == 1e-6


@pytest.mark.parametrize(
    ("unit", "volts"), [("V", 1.0), ("mV", 1e-3), ("nV", 1e-9), ("Volt", 1.0)]
)
def test_other_voltages(unit, volts):
    assert volts_in(unit) == volts


@pytest.mark.parametrize("unit", ["", "C", "%", "uM", "Ohm", "uV^2"])
def test_what_is_no_voltage(unit):
    assert volts_in(unit) is None


def test_micro_is_one_letter():
    assert plain_unit("\u00b5mol/L") == plain_unit("\u03bcmol/L") == "umol/l"
