import signal

import broken
import numpy as np
import pytest
from hypothesis import settings

import merps  # lazy: a test pays for what it uses

VIDEO_S = (9, 10, 11)

settings.register_profile("patient", deadline=None)  # machines may be busy
settings.load_profile("patient")


@pytest.fixture(autouse=True, scope="session")
def _as_on_a_terminal():
    """Listen to Ctrl-C, which jobs in the background of a shell do not."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.fixture
def rng():
    return np.random.default_rng(20260722)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Four simulated people; tests must not change the folder."""
    path = tmp_path_factory.mktemp("simulated") / "data"
    merps.simulate_dataset(path, people=4, video_s=VIDEO_S, seed=5)
    return path


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """Two people with noise for signals and labels; quick where these do not matter."""
    return broken.make_folder(tmp_path_factory.mktemp("noise") / "data set")


@pytest.fixture(scope="session")
def noise_store(noise, tmp_path_factory):
    """The people of noise, preprocessed; tests must not change it."""
    path = tmp_path_factory.mktemp("noise_store") / "store"
    merps.preprocess_dataset(noise, path)
    return path


@pytest.fixture(scope="session")
def newcomers(tmp_path_factory):
    """Two other people with noise for signals, in the layout of the leaderboard."""
    path = tmp_path_factory.mktemp("newcomers") / "data"
    people = ("predict1", "predict2")
    return broken.make_folder(path, people=people, ids=True, targets=True, seed=1)


@pytest.fixture(scope="session")
def store(simulated, tmp_path_factory):
    """The simulated people, preprocessed; tests must not change it."""
    path = tmp_path_factory.mktemp("store") / "store"
    merps.preprocess_dataset(simulated, path)
    return path


@pytest.fixture(scope="session")
def reserved(newcomers, tmp_path_factory):
    """The other people, preprocessed; they are for evaluation only."""
    path = tmp_path_factory.mktemp("reserved") / "store"
    merps.preprocess_dataset(newcomers, path)
    return path


@pytest.fixture(scope="session")
def samples(store):
    return merps.extract_samples(merps.Store.open(store))


@pytest.fixture(scope="session")
def run(store, tmp_path_factory):
    """The folder of a fusion fitted on the simulated people."""
    path = tmp_path_factory.mktemp("run") / "run"
    merps.fit_model(store, path)
    return path
