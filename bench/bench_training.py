"""Training of convolutional nets: steps against braindecode's, and waiting for data.

Steps: ShallowFBCSPNet as published, 64 channels, 4 s at 200 Hz, batches of 64, AdamW;
braindecode's net and the same net merged take the same batches, seeds and threads.
Outputs are compared in training mode, gradients in evaluation mode, where no bias
vanishes in batch normalization; each gradient on the scale of its largest.

Waiting: shuffled batches of two simulated people feed a net; compared is the share of
an epoch, in percent, that passes before batches come, and 5 % is the goal. merps cuts
the windows from its store; the peers load windows that were written before, from a
NumPy array in memory or an HDF5 file, through torch's DataLoader. The merged net is the
harder one to feed.
"""

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import harness
import numpy as np

BATCH_SIZE, WINDOW_S, STEP_S = 64, 4.0, 1.0
N_CHANNELS, N_TIMES = 64, 800
GRADIENT_TOLERANCE = 1e-4


def rows(options) -> Iterator[harness.Row]:
    """Measure training steps, then waiting."""
    for n_threads in sorted({1, options.threads}):
        yield steps(options, n_threads)
    import merps

    data = harness.simulated(options, people=2, eeg_rate_hz=200, compress=False)
    with tempfile.TemporaryDirectory(dir=options.data, prefix="training-") as scratch:
        store = Path(scratch) / "store"
        merps.preprocess_dataset(data, store)
        yield from waiting(store, Path(scratch), options)


# Steps


def steps(options, n_threads: int) -> harness.Row:
    """Train both nets on the same batches."""
    import torch

    n_steps = 2 if options.quick else 6
    torch.set_num_threads(n_threads)
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(n_steps, BATCH_SIZE, N_CHANNELS, N_TIMES, generator=generator)
    targets = torch.randn(n_steps, BATCH_SIZE, 2, generator=generator)
    net = braindecode_net()
    pair = harness.compare(
        lambda: train(copy.deepcopy(net), windows, targets),
        lambda: train(merged_net(copy.deepcopy(net)), windows, targets),
        runs=options.runs,
    )
    slopes = gradient_error(net, windows[0], targets[0])
    n_windows = n_steps * BATCH_SIZE
    return harness.Row(
        f"{n_steps} training steps, threads: {n_threads}",
        "braindecode, ShallowFBCSPNet",
        pair.peer_s,
        pair.merps_s,
        goal="G10",
        error=outputs_error(net, windows[0])
        if slopes <= GRADIENT_TOLERANCE
        else np.inf,
        tolerance=1e-5,
        pairs=pair.pairs,
        note=f"{n_windows / pair.peer_s:.0f} and {n_windows / pair.merps_s:.0f} "
        f"windows a second; gradients differ by {slopes:.1e} "
        f"(<= {GRADIENT_TOLERANCE:g}), last losses by {loss_error(pair):.1e}",
    )


def braindecode_net():
    """Return the net as published, with seeded weights."""
    import torch
    from braindecode.models import ShallowFBCSPNet

    torch.manual_seed(0)
    return ShallowFBCSPNet(n_chans=N_CHANNELS, n_outputs=2, n_times=N_TIMES)


def merged_net(net):
    """Merge the convolutions of a net."""
    from merps.models.merging import merge_convolutions

    return merge_convolutions(net)


def train(net, windows, targets) -> float:
    """Take one step a batch and return the last loss."""
    step = stepper(net)
    return [step(*batch) for batch in zip(windows, targets, strict=True)][-1]


def stepper(net) -> Callable:
    """Return what takes a training step of a net and returns the loss."""
    import torch

    torch.manual_seed(0)  # dropout
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def step(windows, targets) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(windows), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def outputs_error(net, windows) -> float:
    """Return the largest difference of the outputs in training mode."""
    import torch

    outputs = []
    for one in (net, merged_net(copy.deepcopy(net))):
        torch.manual_seed(0)
        outputs.append(one.train()(windows).detach().numpy())
    return float(np.abs(outputs[1] - outputs[0]).max())


def gradient_error(net, windows, targets) -> float:
    """Return the largest relative difference of the gradients of any parameter."""
    import torch

    gradients = []
    for one in (copy.deepcopy(net), merged_net(copy.deepcopy(net))):
        one.eval()
        torch.nn.functional.mse_loss(one(windows), targets).backward()
        gradients.append([parameter.grad.numpy() for parameter in one.parameters()])
    return max(map(harness.relative_error, gradients[1], gradients[0]))


def loss_error(pair: harness.Comparison) -> float:
    """Return the relative difference of the last losses."""
    return abs(pair.merps - pair.peer) / abs(pair.peer)


# Waiting


class Epoch(NamedTuple):
    """Seconds of an epoch, those spent waiting for batches, and a trace of the data."""

    seconds: float
    waited_s: float
    middles: np.ndarray

    @property
    def share(self) -> float:
        """Percent of the epoch spent waiting."""
        return 100 * self.waited_s / self.seconds


def waiting(store: Path, scratch: Path, options) -> Iterator[harness.Row]:
    """Feed both nets from a store and by the loaders of a laboratory."""
    import torch

    torch.set_num_threads(options.threads)
    windows = window_set(store)
    array, file = written(windows, scratch)
    rng = np.random.default_rng(0)
    n_windows = min(len(windows), (4 if options.quick else 16) * BATCH_SIZE)
    taken = rng.permutation(len(windows))[:n_windows]
    peers = {
        "DataLoader, array": lambda: peer_loader(array, taken, 0),
        "DataLoader, array, 2 workers": lambda: peer_loader(array, taken, 2),
        "DataLoader, h5py": lambda: peer_loader(file, taken, 0),
        "DataLoader, h5py, 2 workers": lambda: peer_loader(file, taken, 2),
    }
    for kind, make in (("braindecode", braindecode_net), ("merged", make_merged)):
        sides = {"merps": lambda: merps_batches(windows, taken), **peers}
        epochs = {name: [] for name in sides}
        for _ in range(options.runs):
            for name, batches in sides.items():
                epochs[name].append(epoch(make(), batches()))
        ours = epochs.pop("merps")
        for name, theirs in epochs.items():
            yield waiting_row(kind, name, theirs, ours)


def waiting_row(
    kind: str, name: str, theirs: list[Epoch], ours: list[Epoch]
) -> harness.Row:
    """Compare the shares of epochs that are spent waiting."""
    pairs = [(t.share, o.share) for t, o in zip(theirs, ours, strict=True)]
    peer, merps = map(statistics.median, zip(*pairs, strict=True))
    their_s, our_s = (
        statistics.median(one.seconds for one in side) for side in (theirs, ours)
    )
    return harness.Row(
        f"waiting, {len(ours[0].middles)} windows, {kind} net",
        name,
        peer,
        merps,
        error=harness.relative_error(ours[-1].middles, theirs[-1].middles),
        pairs=pairs,
        unit="%",
        note=f"{name}: epochs of {their_s:.3g} s and {our_s:.3g} s",
    )


def make_merged():
    """Return the net as published, merged."""
    return merged_net(braindecode_net())


def epoch(net, batches: Iterable) -> Epoch:
    """Train on every batch once, and take the time until each comes."""
    step, waited_s, middles = stepper(net), 0.0, []
    start = time.perf_counter()
    iterator = iter(batches)
    while True:
        asked = time.perf_counter()
        batch = next(iterator, None)
        waited_s += time.perf_counter() - asked
        if batch is None:
            break
        step(*batch)
        middles.append(batch[0][:, 0, N_TIMES // 2].numpy())
    seconds = time.perf_counter() - start
    return Epoch(seconds, waited_s, np.sort(np.concatenate(middles)))


def window_set(store: Path):
    """Return the windows of a store."""
    from merps.batches import WindowSet
    from merps.store import Store
    from merps.windows import WindowGrid

    grid = WindowGrid(WINDOW_S, STEP_S, lag_s=0.0, lookahead_s=0.0)
    return WindowSet(Store.open(store), grid, modality="eeg")


def written(windows, folder: Path):
    """Write all windows as a laboratory does; return both datasets."""
    import h5py

    tensor, targets = windows.gather(np.arange(len(windows))), scaled(windows.targets)
    np.save(folder / "windows.npy", tensor)
    with h5py.File(folder / "windows.h5", "w") as file:
        file["windows"], file["targets"] = tensor, targets
    array = ArrayDataset(np.load(folder / "windows.npy"), targets)
    return array, FileDataset(folder / "windows.h5")


def merps_batches(windows, taken) -> Iterator:
    """Yield tensors of shuffled windows, cut from the store."""
    import torch

    rng = np.random.default_rng(0)
    for batch in windows.batches(batch_size=BATCH_SIZE, rng=rng, rows=taken):
        yield torch.from_numpy(batch.windows), torch.from_numpy(scaled(batch.targets))


def peer_loader(dataset, taken, n_workers: int):
    """Return torch's loader of shuffled windows."""
    from torch.utils.data import DataLoader, Subset

    chosen = Subset(dataset, taken.tolist())
    return DataLoader(
        chosen, batch_size=BATCH_SIZE, shuffle=True, num_workers=n_workers
    )


def scaled(targets) -> np.ndarray:
    """Bring ratings to the order of one."""
    return (targets / 128 - 1).astype(np.float32)


class ArrayDataset:
    """Windows of an array in memory."""

    def __init__(self, windows, targets):
        self.windows, self.targets = windows, targets

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, row):
        return self.windows[row], self.targets[row]


class FileDataset:
    """Windows of an HDF5 file that each process opens for itself."""

    def __init__(self, path):
        self.path, self.file = path, None

    def __getitem__(self, row):
        import h5py

        if self.file is None:
            self.file = h5py.File(self.path)
        return self.file["windows"][row], self.file["targets"][row]


if __name__ == "__main__":
    harness.main(__doc__, rows)
