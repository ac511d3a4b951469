"""Media of clips, encoders, and features on disk."""

import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from merps.errors import DataError, InputError
from merps.tracks.cache import FeatureCache, open_store, read_features
from merps.tracks.clips import encode_table, export_features
from merps.tracks.encoders import describe_encoder, load_encoder, pool_steps
from merps.tracks.extras import require_extra
from merps.tracks.media import (
    MediaIndex,
    as_wav,
    read_audio,
    read_faces,
    read_frames,
    spread,
)
from merps.tracks.options import DataConfig, StreamConfig, TrackConfig
from merps.tracks.simulate.encoders import write_encoders
from merps.tracks.simulate.scenes import write_video
from merps.tracks.tables import ClipTable

av = pytest.importorskip("av")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    write_encoders(folder, seed=0)
    return folder


def ramp(n=8, side=32):
    """Frames that become brighter."""
    levels = 20 * np.arange(n, dtype=np.uint8)
    return np.tile(levels[:, None, None, None], (1, side, side, 3))


def tone(n=16_000, pitch_hz=440.0, rate_hz=16_000):
    return np.sin(2 * np.pi * pitch_hz * np.arange(n) / rate_hz).astype(np.float32) / 2


# Media


def test_frames_are_spread_evenly(tmp_path):
    write_video(tmp_path / "a.mp4", ramp())
    frames = read_frames(tmp_path / "a.mp4", count=3)
    assert frames.shape == (3, 32, 32, 3)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [0, 80, 140], atol=6)
    assert len(read_frames(tmp_path / "a.mp4", count=20)) == 20
    assert spread(1, 3).tolist() == [0, 0, 0]


def test_sound_is_mixed_and_resampled(tmp_path):
    stereo = np.stack([tone(44_100, rate_hz=44_100), np.zeros(44_100)], axis=1)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes((stereo * 32767).astype("<i2").tobytes())
    sound = read_audio(tmp_path / "a.wav")
    assert abs(len(sound) - 16_000) < 100
    peak = np.abs(np.fft.rfft(sound)).argmax() * 16_000 / len(sound)
    assert peak == pytest.approx(440, abs=3)
    (tmp_path / "b.wav").write_bytes(as_wav(tone()))
    np.testing.assert_allclose(read_audio(tmp_path / "b.wav"), tone(), atol=1e-4)


def test_what_cannot_be_decoded_is_told(tmp_path):
    write_video(tmp_path / "mute.mp4", ramp())
    with pytest.raises(DataError, match=r"mute\.mp4: expected audio in it, found none"):
        read_audio(tmp_path / "mute.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video at all" * 50)
    with pytest.raises(DataError, match=r"bad\.mp4: cannot be decoded"):
        read_frames(tmp_path / "bad.mp4", count=2)
    write_video(tmp_path / "empty.mp4", ramp(0))
    with pytest.raises(DataError, match=r"empty\.mp4"):
        read_frames(tmp_path / "empty.mp4", count=2)
    (tmp_path / "still.wav").write_bytes(as_wav(np.empty(0, np.float32)))
    with pytest.raises(DataError, match=r"still\.wav"):
        read_audio(tmp_path / "still.wav")


def test_face_crops_are_turned_to_red_green_blue(tmp_path):
    crops = np.zeros((4, 8, 8, 3), np.uint8)
    crops[..., 0] = 9
    np.save(tmp_path / "a.npy", crops)
    assert (read_faces(tmp_path / "a.npy", colors="bgr")[..., 2] == 9).all()
    assert (read_faces(tmp_path / "a.npy", colors="rgb", count=2)[..., 0] == 9).all()
    assert len(read_faces(tmp_path / "a.npy", colors="rgb", count=2)) == 2


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([Trap()], dtype=object), "expected an array of numbers"),
        (np.zeros((4, 8, 8)), r"found float64 of shape \(4, 8, 8\)"),
        (np.zeros((4, 8, 8, 3)), "expected uint8 of shape"),
        (np.zeros((0, 8, 8, 3), np.uint8), "npy"),
    ],
)
def test_other_face_files_are_refused_and_nothing_is_executed(
    tmp_path, content, message
):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(DataError, match=message):
        read_faces(tmp_path / "a.npy", colors="bgr")


def test_media_are_found_in_flat_and_split_trees(tmp_path, caplog):
    for name in ("video/a.mp4", "video/part/video/b.MP4", "audio/a.wav", "other/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "faces" / "a").mkdir(parents=True)
    (tmp_path / "faces" / "a" / "a.npy").touch()
    index = MediaIndex([tmp_path / n for n in ("video", "audio", "faces", "other")])
    assert index.find("a", "video") == tmp_path / "video" / "a.mp4"
    assert index.find("b", "video").name == "b.MP4"
    assert index.find("b", "audio") == index.find("b", "video")
    assert index.find("a", "face").parent.name == "a"
    assert index.find("c", "video") is None
    assert "1 media files are there twice, the first is used: a.mp4" in caplog.text
    with pytest.raises(DataError, match=r"found no such folder; correct data\.media"):
        MediaIndex([tmp_path / "nowhere"])


# Encoders


def test_text_is_the_sum_of_last_layers_without_special_tokens(encoders):
    folder = encoders / "text"
    stream = StreamConfig(modality="text", encoder=str(folder), layers=2)
    encoder = load_encoder(stream)
    steps = encoder.encode("today is tuesday")
    tokens = encoder.prepare("today is tuesday", return_tensors="pt")
    with torch.inference_mode():
        states = encoder.model(**tokens, output_hidden_states=True).hidden_states
    expected = (states[-1] + states[-2])[0, 1:-1].numpy()
    np.testing.assert_allclose(steps, expected, rtol=1e-5, atol=1e-6)
    assert steps.shape == (3, 32)
    assert len(encoder.encode("")) == 0
    assert len(encoder.encode("today " * 500)) < 64
    pooled = pool_steps(steps, "utterance")
    np.testing.assert_allclose(pooled, steps.mean(axis=0, keepdims=True))
    assert pool_steps(steps, "frame").shape == steps.shape


def test_long_sound_is_cut_into_rows(encoders):
    options = {"modality": "audio", "encoder": str(encoders / "audio")}
    whole = load_encoder(StreamConfig(**options))
    short = load_encoder(StreamConfig(**options, row_s=0.5))
    n_short = len(whole.encode(tone(8000)))
    assert len(short.encode(tone(20_000))) == 3 * n_short
    low, high = (
        pool_steps(whole.encode(tone(pitch_hz=p)), "utterance") for p in (200, 900)
    )
    assert np.abs(low - high).max() > 1e-3


def tiny(kind, folder):
    """Write a tiny encoder of a kind that the simulation does not use."""
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "dinov2":
        config = transformers.Dinov2Config(**size, image_size=28, patch_size=14)
        model = transformers.Dinov2Model(config)
        processor = transformers.BitImageProcessorPil(
            size={"shortest_edge": 28}, crop_size=28
        )
    elif kind == "videomae":
        config = transformers.VideoMAEConfig(
            **size, intermediate_size=16, image_size=32, num_frames=4, tubelet_size=2
        )
        model = transformers.VideoMAEModel(config)
        processor = transformers.VideoMAEImageProcessorPil(
            size={"shortest_edge": 32}, crop_size=32
        )
    else:
        config = transformers.WhisperConfig(
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            vocab_size=20,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        model = transformers.WhisperModel(config)
        processor = transformers.WhisperFeatureExtractor()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "modality", "n_steps"),
    [("dinov2", "face", 4), ("videomae", "video", 2), ("whisper", "audio", 1500)],
)
def test_other_kinds_of_encoders_give_rows(tmp_path, kind, modality, n_steps):
    folder = tiny(kind, tmp_path / kind)
    encoder = load_encoder(
        StreamConfig(modality=modality, encoder=str(folder), frames=4)
    )
    content = tone() if modality == "audio" else ramp(4)
    steps = encoder.encode(content)
    assert steps.shape == (n_steps, 16)
    assert np.isfinite(steps).all()


def test_an_encoder_that_is_not_there_or_pickled_is_refused(encoders, tmp_path):
    def load(folder):
        load_encoder(StreamConfig(modality="text", encoder=str(folder)))

    with pytest.raises(DataError, match="found no such folder; take a folder as save_"):
        load(tmp_path / "hub-name")
    shutil.copytree(encoders / "text", tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(
        tmp_path / "pickled" / "pytorch_model.bin"
    )
    with pytest.raises(DataError, match="pickled ones are not read"):
        load(tmp_path / "pickled")
    shutil.copytree(encoders / "text", tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(DataError, match="expected a model and its AutoTokenizer"):
        load(tmp_path / "cut")


def test_a_library_that_is_absent_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'merps\[av\]'"):
        require_extra("av", "av", why="to decode")


# Features on disk


def make_media(path, names):
    for number, name in enumerate(names):
        write_video(path / f"{name}.mp4", np.roll(ramp(), number, axis=3) + number)
        (path / f"{name}.wav").write_bytes(as_wav(tone(4000, 200 + 50 * number)))


@pytest.fixture
def scene(tmp_path, encoders):
    """A configuration with three clips of sound and video."""
    (tmp_path / "media").mkdir()
    make_media(tmp_path / "media", ["s1", "s2", "s3"])
    image = {"modality": "video", "encoder": str(encoders / "image"), "frames": 2}
    sound = {"modality": "audio", "encoder": str(encoders / "audio")}
    return TrackConfig(
        track="cross",
        store=str(tmp_path / "store"),
        run=str(tmp_path / "run"),
        data=DataConfig(media=(str(tmp_path / "media"),)),
        streams={"sight": StreamConfig(**image), "voice": StreamConfig(**sound)},
    )


def table(*names):
    labels = ("happy",) * len(names)
    return ClipTable(Path("t.csv"), names, labels, (), ("",) * len(names), names)


def encode(config, *names, **options):
    return encode_table(table(*names), config, streams=config.streams, **options)


def features(encoded, stream, row):
    block = encoded.clips.blocks[stream]
    return block.source.gather(block.rows[[row]])[0]


def test_encoding_is_resumed_and_the_number_of_jobs_changes_nothing(scene):
    first = encode(scene, "s1", "s2", jobs=1)
    again = encode(scene, "s1", "s2", "s3", jobs=2)
    assert (first.done, first.skipped, again.done, again.skipped) == (4, 0, 2, 4)
    shutil.rmtree(scene.store)
    anew = encode(scene, "s1", "s2", "s3", jobs=2)
    for stream in scene.streams:
        for row in range(3):
            np.testing.assert_array_equal(
                features(anew, stream, row), features(again, stream, row)
            )
    assert len(set(anew.clips.keys)) == 3


def test_an_encoder_that_is_not_there_is_told_before_anything_is_decoded(scene):
    gone = scene.streams["voice"].model_copy(update={"encoder": "gone"})
    with pytest.raises(DataError, match="gone: expected the folder of an encoder"):
        encode(scene.model_copy(update={"streams": {**scene.streams, "voice": gone}}))
    assert not Path(scene.store).exists()


def test_a_clip_under_another_name_is_known(scene, tmp_path):
    first = encode(scene, "s1", "s2", "s3")
    for kind in ("mp4", "wav"):
        (tmp_path / "media" / f"s2.{kind}").rename(tmp_path / "media" / f"zz.{kind}")
    again = encode(scene, "s3", "zz", "s1")
    assert again.done == 0
    assert again.clips.keys == tuple(first.clips.keys[k] for k in (2, 1, 0))
    assert again.clips.groups == tuple(first.clips.groups[k] for k in (2, 1, 0))


def test_damaged_features_are_made_anew(scene, caplog):
    first = encode(scene, "s1", "s2")
    cache = next(p for p in (open_store(Path(scene.store)) / "features").iterdir())
    damaged = sorted(cache.glob("*.npy"))[0]
    data = bytearray(damaged.read_bytes())
    data[-3] ^= 1
    damaged.write_bytes(data)
    again = encode(scene, "s1", "s2")
    assert again.done == 1
    assert "damaged, encoded anew" in caplog.text
    for row in range(2):
        np.testing.assert_array_equal(
            features(again, "sight", row), features(first, "sight", row)
        )


def test_missing_and_damaged_media_are_listed(scene, tmp_path):
    (tmp_path / "media" / "s2.mp4").write_bytes(b"nothing" * 99)
    (tmp_path / "media" / "s3.wav").unlink()
    (tmp_path / "media" / "s3.mp4").unlink()
    found = encode(scene, "s1", "s2", "s3")
    reasons = {(stream, clip): why for stream, clip, why in found.missing}
    assert reasons.keys() == {("sight", "s2"), ("sight", "s3"), ("voice", "s3")}
    assert "cannot be decoded" in reasons["sight", "s2"]
    assert reasons["voice", "s3"] == "no file"
    with pytest.raises(DataError, match="stream sight: 2 of 3 rows are missing, more"):
        found.require(0.1)
    found.require(0.7)


def test_official_folders_are_written_and_read_back(scene, tmp_path):
    encoded = encode(scene, "s1", "s2")
    n_files = export_features(
        table("s1", "s2"), encoded.clips, scene.streams, tmp_path / "official"
    )
    assert n_files == 4
    folder = tmp_path / "official" / "sight-UTT"
    assert np.load(folder / "s1.npy").shape == (32,)
    streams = {"sight": StreamConfig(modality="video", features=str(folder))}
    config = scene.model_copy(update={"streams": streams})
    again = encode(config, "s1", "s2", "s3")
    np.testing.assert_array_equal(
        features(again, "sight", 1), features(encoded, "sight", 1)
    )
    assert [clip for _, clip, _ in again.missing] == ["s3"]
    for content, message in [
        (np.array([Trap()], dtype=object), "expected an array of numbers"),
        (np.array([np.nan]), "expected finite numbers"),
        (np.zeros((2, 2, 2)), "expected numbers of shape"),
    ]:
        np.save(tmp_path / "odd.npy", content)
        with pytest.raises(DataError, match=message):
            read_features(tmp_path / "odd.npy")


def test_another_encoder_has_a_folder_of_its_own(scene, encoders):
    stream = scene.streams["voice"]
    store = open_store(Path(scene.store))
    keys = {
        FeatureCache(store, describe_encoder(stream.model_copy(update=change))).key
        for change in ({}, {"layers": 1}, {"pool": "frame"}, {"batch": 7})
    }
    assert len(keys) == 3
