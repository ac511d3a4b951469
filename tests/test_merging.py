"""Merged convolutions against braindecode's own."""

import copy
import warnings

import pytest
import torch
from torch import nn

from merps.errors import InputError
from merps.models.merging import MeanPool, MergedConvolution, merge_convolutions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of wfdb about pandas, both imported on the way
    from braindecode.models import Deep4Net, SCCNet, ShallowFBCSPNet
    from braindecode.modules import CombinedConv

SMALL = {
    "n_filters_time": 7,
    "filter_time_length": 9,
    "n_filters_spat": 5,
    "pool_time_length": 20,
    "pool_time_stride": 8,
}


def shallow(*, n_chans=6, n_times=101, **options):
    """Return a small net; 101 samples are a prime number of them."""
    torch.manual_seed(1)
    net = ShallowFBCSPNet(
        n_chans=n_chans, n_times=n_times, n_outputs=2, **SMALL | options
    )
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):  # braindecode starts them at zero
            nn.init.normal_(parameter)
    return net


def windows_for(net, n_windows=8, **options):
    generator = torch.Generator().manual_seed(2)
    shape = (n_windows, net.n_chans, net.n_times)
    return torch.randn(shape, generator=generator, **options)


def outputs_and_gradients(net, windows):
    """Return what a net answers and how its parameters and the windows move that."""
    windows = windows.detach().requires_grad_()
    torch.manual_seed(3)  # dropout
    outputs = net(windows)
    slopes = torch.linspace(-1, 2, outputs.numel(), dtype=outputs.dtype)
    tensors = dict(net.named_parameters(), windows=windows)
    total = (outputs * slopes.reshape(outputs.shape)).sum()
    gradients = torch.autograd.grad(total, list(tensors.values()))
    return outputs.detach(), dict(zip(tensors, gradients, strict=True))


def assert_same(net, merged, windows, *, rtol=1e-4, atol=1e-5):
    """Compare outputs and gradients, each gradient on the scale of its largest."""
    outputs, gradients = outputs_and_gradients(net, windows)
    merged_outputs, merged_gradients = outputs_and_gradients(merged, windows)
    torch.testing.assert_close(merged_outputs, outputs, rtol=0, atol=atol)
    assert merged_gradients.keys() == gradients.keys()
    # Batch normalization takes a constant away again: that gradient is only rounding.
    constant = "conv_time_spat.conv_time.bias"
    scales = {name: float(g.abs().max()) for name, g in gradients.items()}
    if net.training and hasattr(net, "bnorm"):
        scales[constant] = max(scales.values())
    for name, expected in gradients.items():
        assert expected.abs().max() > 0
        torch.testing.assert_close(
            merged_gradients[name], expected, rtol=0, atol=rtol * scales[name]
        )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_norm": False},
        {"pool_mode": "max"},
        {"final_conv_length": 3},
        {"conv_nonlin": torch.tanh},
        {"n_times": 100},
        {"filter_time_length": 1},
    ],
    ids=lambda options: ", ".join(options) or "defaults",
)
def test_outputs_and_gradients_are_those_of_braindecode(options, training):
    net = shallow(**options).train(training)
    assert_same(net, merge_convolutions(net), windows_for(net))


@pytest.mark.parametrize(("bias_time", "bias_spat"), [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.parametrize(("n_chans", "n_filters"), [(1, 3), (4, 1)])
def test_it_is_one_convolution_after_the_other(
    n_chans, n_filters, bias_time, bias_spat
):
    torch.manual_seed(1)
    both = CombinedConv(n_chans, 2, n_filters, 5, bool(bias_time), bool(bias_spat))
    windows = torch.randn(3, n_chans, 31, 1)
    expected = both.conv_spat(both.conv_time(windows.permute(0, 3, 2, 1)))
    actual = MergedConvolution(both)(windows)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_the_net_as_published_agrees():
    torch.manual_seed(0)
    net = ShallowFBCSPNet(n_chans=64, n_outputs=2, n_times=800)
    assert_same(net, merge_convolutions(net), windows_for(net, 4))


def test_deep4net_agrees():
    torch.manual_seed(0)
    net = Deep4Net(n_chans=3, n_outputs=2, n_times=500)
    merged = merge_convolutions(net)
    assert isinstance(merged.conv_time_spat, MergedConvolution)
    assert_same(net, merged, windows_for(net, 3))


def test_double_precision_agrees_to_rounding():
    net = shallow().double()
    windows = windows_for(net, dtype=torch.float64)
    assert_same(net, merge_convolutions(net), windows, rtol=1e-11, atol=1e-12)


def test_one_window_and_a_view_that_is_not_contiguous():
    net = shallow().eval()
    merged = merge_convolutions(net)
    windows = windows_for(net, 2).mT.contiguous().mT
    torch.testing.assert_close(merged(windows), net(windows), rtol=0, atol=1e-5)
    torch.testing.assert_close(merged(windows[:1]), net(windows[:1]), rtol=0, atol=1e-5)


def test_a_large_offset_costs_no_more_than_in_braindecode():
    net = shallow(batch_norm=False)
    windows = (windows_for(net) + 1e4)[..., None]
    exact = copy.deepcopy(net).double()
    expected = exact.conv_time_spat(exact.dimshuffle(windows.double()))

    def error(filtered):
        return float((filtered - expected).detach().abs().max())

    theirs = error(net.conv_time_spat(net.dimshuffle(windows)))
    assert 0 < error(merge_convolutions(net).conv_time_spat(windows)) <= 2 * theirs


def test_a_missing_sample_reaches_its_own_window_only():
    net = shallow().eval()
    windows = windows_for(net, 3)
    windows[1, 2, 50] = torch.nan
    for answer in (net(windows), merge_convolutions(net)(windows)):
        assert answer.isnan().all(dim=1).tolist() == [False, True, False]
        assert answer[[0, 2]].isfinite().all()


def test_parameters_and_buffers_are_the_same_tensors():
    net = shallow()
    merged = merge_convolutions(net)
    theirs, ours = (n.state_dict(keep_vars=True) for n in (net, merged))
    assert list(ours) == list(theirs)
    assert all(ours[name] is theirs[name] for name in theirs)
    assert type(merged) is type(net)


def test_steps_of_the_merged_net_train_both_as_braindecode_would():
    net, alone = shallow(), shallow()
    merged = merge_convolutions(net)
    windows = windows_for(net)
    for owner, stepped in ((net, merged), (alone, alone)):
        for step in range(3):
            torch.manual_seed(step)
            owner.zero_grad()
            stepped(windows).square().mean().backward()
            with torch.no_grad():
                for parameter in owner.parameters():
                    parameter -= 1e-3 * parameter.grad
    for name, expected in alone.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], expected)
    assert net.bnorm.num_batches_tracked == 3
    torch.testing.assert_close(
        merged.eval()(windows), alone.eval()(windows), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("from_merged", [True, False])
def test_states_are_exchanged_both_ways(from_merged):
    giver, taker = shallow(), shallow()
    with torch.no_grad():
        for parameter in taker.parameters():
            parameter.zero_()
    taker.train(False)
    if from_merged:
        giver = merge_convolutions(giver)
    else:
        taker = merge_convolutions(taker)
    giver.train(False)
    taker.load_state_dict(giver.state_dict())
    windows = windows_for(giver)
    torch.testing.assert_close(taker(windows), giver(windows), rtol=0, atol=1e-5)


def test_a_deep_copy_is_independent():
    net = shallow()
    merged = merge_convolutions(net)
    twin = copy.deepcopy(merged)
    with torch.no_grad():
        twin.conv_time_spat.conv_time.weight.zero_()
    assert merged.conv_time_spat.conv_time.weight.abs().min() > 0
    assert merged.conv_time_spat.conv_time.weight is net.conv_time_spat.conv_time.weight


def test_the_net_that_is_merged_stays_as_it_is():
    net = shallow().eval()
    before = repr(net)
    merged = merge_convolutions(net)
    assert repr(net) == before
    assert not merged.training
    assert isinstance(merged.pool, MeanPool)
    assert merged.train().conv_time_spat.training
    assert not net.training


def test_half_precision_around_it_is_left_to_the_other_layers():
    net = shallow().eval()
    merged = merge_convolutions(net)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = merged(windows_for(net))
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(
        answer.float(), net(windows_for(net)), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (
            SCCNet(n_chans=3, n_outputs=2, n_times=200, sfreq=100),
            "SCCNet does not start with",
        ),
        (nn.Linear(3, 2), "Linear does not start with"),
        (nn.Sequential(nn.Conv1d(3, 4, 5), nn.ReLU()), "Sequential does not start"),
    ],
    ids=["SCCNet", "Linear", "Sequential"],
)
def test_a_net_that_does_not_fit_is_refused(net, told):
    with pytest.raises(InputError, match=told) as caught:
        merge_convolutions(net)
    assert "ShallowFBCSPNet and Deep4Net; train this net as it is" in str(caught.value)


def test_a_merged_net_is_refused():
    with pytest.raises(InputError, match="of this ShallowFBCSPNet are merged"):
        merge_convolutions(merge_convolutions(shallow()))


@pytest.mark.parametrize("shape", [(2, 5, 101), (2, 6, 8), (0, 6, 101)])
def test_windows_that_do_not_fit_are_refused(shape):
    with pytest.raises(InputError, match="6 channels and at least 9 samples") as caught:
        merge_convolutions(shallow())(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("pool", "replaced"),
    [
        (nn.AvgPool2d((4, 1), (2, 1)), True),
        (nn.AvgPool2d((4, 1), (2, 1), ceil_mode=True), False),
        (nn.AvgPool2d((4, 1), (2, 1), divisor_override=3), False),
        (nn.AvgPool2d((4, 1), (2, 1), padding=(1, 0)), False),
        (nn.MaxPool2d((4, 1), (2, 1)), False),
    ],
    ids=str,
)
def test_only_a_plain_mean_over_time_is_replaced(pool, replaced):
    net = shallow()
    net.pool = pool
    net.final_layer = nn.Flatten()
    merged = merge_convolutions(net.eval())
    windows = windows_for(net)
    assert isinstance(merged.pool, MeanPool) == replaced
    torch.testing.assert_close(merged(windows), net(windows), rtol=0, atol=1e-5)
