"""Nets by name, branches and the graph of channels."""

import importlib.metadata
import re

import pytest
import torch
from windowed import TINY

from merps.errors import InputError
from merps.models.graph import GraphCrossAttention
from merps.models.merging import MergedConvolution
from merps.models.nets import _NONCOMMERCIAL, build_net
from merps.models.regressor import build_regressor, merge_branches

SHAPE = {"n_channels": 3, "n_times": 100, "rate_hz": 50.0, "n_outputs": 2}
SHAPES = {"eeg": (1, 3, 100), "fnirs": (2, 4, 20)}
RATES = {"eeg": 50.0, "fnirs": 10.0}
SHALLOW = ("ShallowFBCSPNet", TINY)


def build(name, options=(), **shape):
    return build_net(name, **{**SHAPE, **shape}, options=dict(options))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ShallowFBCSPNet", TINY),
        ("EEGNet", {"F1": 4, "activation": "ReLU"}),
        ("EEGConformer", {"filter_time_length": 5, "pool_time_length": 20}),
        ("SyncNet", {}),
    ],
)
def test_nets_are_built_by_name(name, options):
    net = build(name, options)
    assert type(net).__name__ == name
    assert net.training
    assert net(torch.randn(4, 3, 100)).shape == (4, 2)


@pytest.mark.parametrize("name", _NONCOMMERCIAL)
def test_noncommercial_nets_are_refused(name):
    with pytest.raises(InputError, match=r"refused: braindecode has it under CC BY-NC"):
        build(name)


def test_every_file_that_braindecode_calls_noncommercial_is_known():
    (notice,) = (
        path.read_text()
        for path in importlib.metadata.files("braindecode")
        if path.name == "NOTICE.txt"
    )
    sections = notice.split("### ")
    files = {
        found
        for section in sections
        if section.startswith("CC BY-NC")
        for found in re.findall(r"braindecode/models/(\w+)\.py", section)
    }
    from braindecode.models.util import models_dict

    kinds = {
        name
        for name, kind in models_dict.items()
        if kind.__module__.rpartition(".")[2] in files
    }
    assert kinds == set(_NONCOMMERCIAL) & set(models_dict)
    assert len(kinds) >= 5


def test_a_net_that_downloads_is_refused():
    with pytest.raises(InputError, match="REVE is refused: it downloads"):
        build("REVE")


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("shallowfbcspnet", {}, {}, "did you mean ShallowFBCSPNet"),
        ("EEGnet", {}, {}, r"no net 'EEGnet' .*did you mean EEGNet.*case exact"),
        ("zzz", {}, {}, "no net 'zzz' in braindecode; names"),
        ("os", {}, {}, "no net 'os'"),
        ("GraphCrossAttention", {}, {}, "takes fNIRS itself; name it so as `net`"),
        ("graphcrossattention", {}, {}, "GraphCrossAttention takes fNIRS itself"),
        ("GraphCrossAtention", {}, {}, "no net .* in braindecode; names"),
        (
            "EEGNet",
            {"drop": 0.1},
            {},
            "EEGNet has no option 'drop'; did you mean drop_",
        ),
        ("EEGNet", {"n_chans": 4}, {}, "EEGNet has no option 'n_chans'"),
        ("EEGNet", {"activation": "eval"}, {}, "activation='eval' is no layer"),
        ("EEGNet", {"F1": "x"}, {}, "EEGNet cannot be built .* 3 channels and 100"),
        ("ShallowFBCSPNet", {}, {"n_times": 10}, "ShallowFBCSPNet cannot be built"),
        ("Labram", {}, {}, "Labram cannot be built for windows of 3 channels"),
        ("NeuroPose", {}, {"n_channels": 64, "n_times": 800}, "regresses windows"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(name, options, shape, message):
    with pytest.raises(InputError, match=message) as caught:
        build(name, options, **shape)
    assert "\n" not in str(caught.value)


# Branches


def regressor(nets, *, modalities=("eeg", "fnirs"), embedding=3, sequence_s=1):
    torch.manual_seed(0)
    return build_regressor(
        {m: SHAPES[m] for m in modalities},
        RATES,
        nets,
        embedding=embedding,
        sequence_s=sequence_s,
    )


def inputs(n_rows=5):
    generator = torch.Generator().manual_seed(1)
    return {
        m: torch.randn(n_rows, k * c, t, generator=generator)
        for m, (k, c, t) in SHAPES.items()
    }


def everything(n_rows=5):
    return {m: torch.ones(n_rows, dtype=torch.bool) for m in SHAPES}


FNIRS = ("ShallowFBCSPNet", {**TINY, "filter_time_length": 3, "pool_time_length": 5})
TWO = {"eeg": SHALLOW, "fnirs": FNIRS}
GRAPH = {"eeg": ("GraphCrossAttention", {"width": 8})}


@pytest.mark.parametrize("nets", [TWO, GRAPH], ids=["two", "graph"])
@pytest.mark.parametrize("lost", ["eeg", "fnirs"])
def test_a_missing_window_moves_its_own_second_only(nets, lost):
    net = regressor(nets).eval()
    windows, present = inputs(), everything()
    whole = net.embed(windows, present)
    present[lost][2] = False
    windows[lost] = windows[lost][present[lost]]
    partly = net.embed(windows, present)
    others = [0, 1, 3, 4]
    torch.testing.assert_close(partly[others], whole[others])
    assert (partly[2] != whole[2]).any()
    assert partly.isfinite().all()
    windows[lost], present[lost] = windows[lost][:0], torch.zeros(5, dtype=torch.bool)
    net.train()
    outputs = net.decode(net.embed(windows, present), torch.arange(5), (1, 5))
    outputs.sum().backward()
    assert outputs.isfinite().all()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)


def test_one_net_alone_is_that_net():
    net = regressor({"eeg": SHALLOW}, modalities=("eeg",)).eval()
    windows = inputs()
    present = everything()
    embedded = net.embed(windows, present)
    outputs = net.decode(embedded, torch.arange(5), (5, 1))
    torch.testing.assert_close(outputs, net.branches["eeg"](windows["eeg"]))


def test_sequences_look_around_but_not_across_trials():
    net = regressor(TWO, sequence_s=4).eval()
    embedded = torch.randn(12, 6)
    places = torch.arange(12)

    def moved(k):
        other = embedded.clone()
        other[k] += 1
        both = (net.decode(x, places, (2, 6)) for x in (embedded, other))
        return torch.stack(list(both)).diff(dim=0)[0].abs().sum(1) > 0

    assert moved(2).nonzero().ravel().tolist() == [0, 1, 2, 3, 4]
    assert moved(5).nonzero().ravel().tolist() == [3, 4, 5]
    assert moved(6).nonzero().ravel().tolist() == [6, 7, 8]
    # A second that is missing is no second whose embedding is zero.
    gone = torch.tensor([0, 1, 3, 4, 5])
    embedded[2] = 0
    whole = net.decode(embedded[:6], places[:6], (1, 6))[gone]
    assert (net.decode(embedded[gone], gone, (1, 6)) != whole).any()


def test_merged_branches_take_the_same_steps():
    nets = [regressor(TWO), merge_branches(regressor(TWO))]
    kinds = [type(module) for module in nets[1].modules()]
    assert kinds.count(MergedConvolution) == 2
    outputs = []
    for net in nets:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(2):
            torch.manual_seed(step)
            embedded = net.embed(inputs(), everything())
            answer = net.decode(embedded, torch.arange(5), (5, 1))
            optimizer.zero_grad()
            answer.square().mean().backward()
            optimizer.step()
        outputs.append(answer.detach())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for name, expected in nets[0].state_dict().items():
        torch.testing.assert_close(nets[1].state_dict()[name], expected)


# The graph of channels


def graph(shapes=SHAPES, **options):
    torch.manual_seed(0)
    return GraphCrossAttention(shapes, RATES, embedding=4, **options)


def test_graph_works_with_eeg_alone():
    net = graph({"eeg": SHAPES["eeg"]})
    out = net({"eeg": inputs()["eeg"]}, {"eeg": everything()["eeg"]})
    assert out.shape == (5, 4)
    assert not hasattr(net, "attention")


def test_graph_sees_power_and_not_phase():
    net = graph().eval()
    windows = inputs()
    expected = net(windows, everything())
    flipped = {**windows, "eeg": -windows["eeg"].flip(2)}
    torch.testing.assert_close(net(flipped, everything()), expected)
    louder = {**windows, "eeg": 3 * windows["eeg"]}
    assert (net(louder, everything()) - expected).abs().max() > 1e-3


def test_power_of_a_wave_is_in_its_band():
    net = graph()
    time = torch.arange(100) / 50.0
    wave = torch.sin(2 * torch.pi * 10 * time).repeat(1, 3, 1)
    power = torch.fft.rfft(wave * net.taper).abs().square() @ net.bands
    assert power.argmax(2).unique().tolist() == [2]  # 8-13 Hz


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        ({"eeg": (1, 1, 100)}, {}),
        ({"eeg": (1, 3, 40)}, {}),
        (SHAPES, {"width": 10, "heads": 4}),
        (SHAPES, {"width": 0}),
        (SHAPES, {"width": -4}),
        (SHAPES, {"heads": 0}),
    ],
)
def test_a_graph_that_cannot_be_is_refused(shapes, options):
    with pytest.raises(InputError, match="GraphCrossAttention needs two EEG channels"):
        graph(shapes, **options)


def test_options_of_the_graph_are_checked():
    with pytest.raises(InputError, match="no option 'widht'; did you mean width"):
        regressor({"eeg": ("GraphCrossAttention", {"widht": 8})})


@pytest.mark.parametrize(
    "options",
    [{"width": "wide"}, {"width": 8.0}, {"heads": None}, {"dropout": 2}],
)
def test_a_graph_of_odd_options_is_one_clear_error(options):
    message = r"GraphCrossAttention cannot be built with the options \{'(w|h|d)"
    with pytest.raises(InputError, match=message):
        regressor({"eeg": ("GraphCrossAttention", options)})
