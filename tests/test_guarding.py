import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from merps.errors import DataError, InputError, SpaceError
from merps.readers.guarding import guarded, quietly

PATH = Path("a.edf")


def failing(error):
    def read():
        raise error

    return read


@pytest.mark.parametrize("call", [guarded, quietly])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("one\n two"), DataError, "recording (ValueError: one two); go"),
        (KeyError("x" * 999), DataError, "(KeyError: '" + "x" * 199 + "); go"),
        (MemoryError(), SpaceError, "no memory for its samples; run fewer jobs"),
        (InputError("expected 1; go"), DataError, "a.edf: expected 1; go"),
        (DataError("b.eeg: 3 shorter"), DataError, "b.eeg: 3 shorter"),
    ],
)
def test_whatever_a_reader_raises_becomes_one_message(call, error, kind, message):
    with pytest.raises(kind) as caught:
        call(PATH, failing(error), remedy="go")
    assert message in str(caught.value)
    assert type(caught.value) is kind


def test_damaged_numbers_warn_nobody():
    zero = np.zeros(1)
    assert np.isnan(guarded(PATH, lambda: zero / zero, remedy="go")).all()


def test_warnings_go_to_the_log(caplog):
    def read():
        warnings.warn("the file is\nold", stacklevel=1)
        return 3

    with caplog.at_level(logging.INFO):
        assert quietly(PATH, read, remedy="go") == 3
    assert "a.edf: the file is" in caplog.text
