"""Nets of braindecode by name, checked before anything is trained."""

import contextlib
import difflib
import inspect
import itertools
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from merps.errors import InputError
from merps.models.inputs import JOINT

_SHAPE_KEYWORDS = ("n_chans", "n_times", "sfreq", "n_outputs")
_NO_OPTIONS = {*_SHAPE_KEYWORDS, "chs_info", "input_window_seconds"}
_NO_OPTIONS |= {"shapes", "rates_hz", "embedding"}
_NONCOMMERCIAL = {
    "BrainModule": "CC BY-NC 4.0",
    "EEGMiner": "CC BY-NC 4.0",
    "EMG2QwertyNet": "CC BY-NC-SA 4.0",
    "MetaNeuromotor": "CC BY-NC 4.0",
    "MetaNeuromotorHand": "CC BY-NC 4.0",
    "VEMG2Pose": "CC BY-NC-SA 4.0",
}
_DOWNLOADING = ("REVE",)
_silence = threading.Lock()


def build_net(
    name: str,
    *,
    n_channels: int,
    n_times: int,
    rate_hz: float,
    n_outputs: int,
    options: Mapping[str, Any],
) -> nn.Module:
    """Build a net of braindecode with random weights.

    Parameters
    ----------
    name : str
        A class of ``braindecode.models``, such as ``ShallowFBCSPNet``.
    n_channels, n_times : int
        Shape of a window.
    rate_hz : float
        Sampling rate in hertz.
    n_outputs : int
        Numbers that the net gives for each window.
    options : mapping
        Further keywords of the class; activations by their name in ``torch.nn``.

    Returns
    -------
    Module
        From (window, channel, time) to (window, output).

    Raises
    ------
    InputError
        If there is no such net or option, its license forbids commercial use, it would
        download something, or it cannot work on such windows.
    """
    kind = _find(name)
    shape = dict(
        zip(_SHAPE_KEYWORDS, (n_channels, n_times, rate_hz, n_outputs), strict=True)
    )
    keywords = {
        k: _option(kind, k, v) for k, v in check_net_options(kind, options).items()
    }
    known = inspect.signature(kind).parameters
    try:
        with _quiet(), torch.no_grad():
            net = kind(**{k: v for k, v in shape.items() if k in known}, **keywords)
            answer = net.eval()(torch.zeros(2, n_channels, n_times))
    except Exception as error:  # whatever a foreign constructor trips over
        raise InputError(
            f"{name} cannot be built for windows of {n_channels} channels and "
            f"{n_times} samples at {rate_hz:g} Hz with the options "
            f"{dict(options)}: {first_line(error)}; change the options, or take "
            "longer windows or another net"
        ) from error
    found = tuple(getattr(answer, "shape", ()))
    if found != (2, n_outputs):
        raise InputError(
            f"{name} answers two windows with the shape {found or type(answer)}, "
            f"expected (2, {n_outputs}): it is no net that regresses windows"
        )
    return net.train()


def check_net_options(kind: type, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse options that a net does not have.

    Parameters
    ----------
    kind : type
        A net; what its constructor takes about windows is no option.
    options : mapping
        Keywords.

    Returns
    -------
    mapping
        The options.

    Raises
    ------
    InputError
        If one is unknown.
    """
    parameters = inspect.signature(kind).parameters.values()
    names = [
        p.name
        for p in parameters
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.name not in _NO_OPTIONS
    ]
    for option in options:
        if option not in names:
            raise InputError(
                f"{kind.__name__} has no option {option!r}{_closest(option, names)}; "
                f"there are {', '.join(names)}"
            )
    return options


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings, which is for one thread at a time."""
    with _silence, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _find(name: str) -> type[nn.Module]:
    """Return a class of braindecode that may be used, or say why not."""
    if name in _NONCOMMERCIAL:
        raise InputError(
            f"{name} is refused: braindecode has it under {_NONCOMMERCIAL[name]}, and "
            "noncommercial terms would bind whoever uses the model; take "
            "ShallowFBCSPNet, EEGConformer or another net"
        )
    if name in _DOWNLOADING:
        raise InputError(
            f"{name} is refused: it downloads electrode positions while it is built, "
            "and merps does not reach into the network; take another net"
        )
    if name.casefold() == JOINT.casefold():
        raise InputError(
            f"{name} is no net of one modality: {JOINT} takes fNIRS itself; name it so "
            "as `net`, and leave fnirs_net out"
        )
    with _quiet():  # wfdb warns about pandas, both imported on the way
        from braindecode.models.util import models_dict
    kind = models_dict.get(name)
    if kind is None:
        near = _closest(name, list(models_dict))
        raise InputError(f"no net {name!r} in braindecode{near}; names are case exact")
    return kind


def _option(kind: type, name: str, value: Any) -> Any:
    """Return an option as the constructor wants it; layers are given by name."""
    default = inspect.signature(kind).parameters[name].default
    if not (isinstance(value, str) and isinstance(default, type)):
        return value
    layer = getattr(nn, value, None)
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        raise InputError(
            f"{kind.__name__}: {name}={value!r} is no layer of torch.nn, such as "
            f"{default.__name__}"
        )
    return layer


def _closest(name: str, names: list[str]) -> str:
    """Name what was probably meant."""
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(folded[n] for n in near)}?" if near else ""


def first_line(error: Exception) -> str:
    """Return the first line of a foreign message.

    Parameters
    ----------
    error : Exception
        From a library.

    Returns
    -------
    str
        At most 200 characters; the name of its class where there is no message.
    """
    lines = itertools.chain(str(error).splitlines(), [type(error).__name__])
    return next(filter(None, lines))[:200]
