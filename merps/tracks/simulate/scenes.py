"""Drawn faces and played tones that carry an emotion."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from merps.store.files import replace_file
from merps.tracks.cache import as_npy
from merps.tracks.extras import require_extra
from merps.tracks.media import AUDIO_RATE_HZ, as_wav

_SIDE, _FRAMES_HZ, _N_FRAMES = 64, 10, 8
_DURATION_S = 0.8
# Curve and opening of the mouth, slant of the brows, flush of the skin.
_FACES: Mapping[str, tuple[float, float, float, float]] = {
    "neutral": (0.0, 0.05, 0.0, 0.0),
    "angry": (-0.4, 0.1, 1.0, 1.0),
    "happy": (1.0, 0.2, 0.0, 0.4),
    "sad": (-1.0, 0.05, -0.8, -0.6),
    "worried": (-0.5, 0.15, -1.0, -1.0),
    "surprise": (0.0, 1.0, -0.3, 0.2),
}
# Pitch in hertz, and how often a second loudness swings.
_VOICES: Mapping[str, tuple[float, float]] = {
    "neutral": (180.0, 1.0),
    "angry": (320.0, 8.0),
    "happy": (420.0, 4.0),
    "sad": (120.0, 2.0),
    "worried": (250.0, 11.0),
    "surprise": (600.0, 6.0),
}


@dataclass(frozen=True)
class Scene:
    """One clip to be written.

    Parameters
    ----------
    name : str
        Of the clip.
    person : int
        Who is seen.
    face, voice : str
        Emotion that is seen, and that is heard and said.
    seed : int
        Decides noise and movement.
    """

    name: str
    person: int
    face: str
    voice: str
    seed: int


def write_scene(path: Path, scene: Scene) -> None:
    """Write video, sound and face crops of a clip in the official layout.

    Parameters
    ----------
    path : Path
        Root of the data.
    scene : Scene
        What is to be seen and heard.

    Raises
    ------
    InputError
        If PyAV is not installed.
    """
    rng = np.random.default_rng(scene.seed)
    frames = draw_face(scene, rng)
    sound = play_tone(scene, rng)
    write_video(path / "video" / f"{scene.name}.mp4", frames)
    write_wav(path / "audio" / f"{scene.name}.wav", sound)
    folder = path / "openface_face" / scene.name
    folder.mkdir()
    crops = np.ascontiguousarray(frames[..., ::-1])  # stored as blue, green, red
    replace_file(folder / f"{scene.name}.npy", as_npy(crops))


def draw_face(
    scene: Scene, rng: np.random.Generator
) -> UInt8[np.ndarray, "frame height width 3"]:
    """Draw a face: a disk with eyes, brows and a mouth, which moves a little.

    Parameters
    ----------
    scene : Scene
        Who is seen, and what they feel.
    rng : numpy.random.Generator
        Movement and noise.

    Returns
    -------
    ndarray of uint8, shape (frame, height, width, 3)
        Red, green, blue.
    """
    own = np.random.default_rng(scene.person)
    curve, opening, slant, flush = _FACES[scene.face]
    skin = np.array([190, 140, 110]) + own.normal(0, 8, 3)
    skin = skin + 60 * flush * np.array([1, -0.5, -0.5])
    size, strength = own.uniform(0.75, 0.9), rng.uniform(0.7, 1.2)
    frames = np.empty((_N_FRAMES, _SIDE, _SIDE, 3))
    axis = np.linspace(-1, 1, _SIDE)
    for k in range(_N_FRAMES):
        dx, dy = rng.normal(0, 0.04, 2)
        x, y = np.meshgrid((axis - dx) / size, (axis - dy) / size)
        image = np.full((_SIDE, _SIDE, 3), 60.0)
        image[x**2 + y**2 < 1] = skin
        for side in (-1, 1):
            image[(x - 0.35 * side) ** 2 + (y + 0.2) ** 2 < 0.012] = 20
            brow = y + 0.45 + 0.3 * strength * slant * side * (x - 0.35 * side)
            image[(np.abs(brow) < 0.05) & (np.abs(x - 0.35 * side) < 0.2)] = 30
        line = y - 0.45 + 0.8 * strength * curve * (x**2 - 0.08)
        width = 0.05 + 0.2 * strength * opening
        image[(np.abs(line) < width) & (np.abs(x) < 0.4)] = (120, 20, 30)
        frames[k] = image + rng.normal(0, 8, image.shape)
    return np.clip(frames, 0, 255).astype(np.uint8)


def play_tone(scene: Scene, rng: np.random.Generator) -> Float32[np.ndarray, " time"]:
    """Play a tone with overtones whose pitch and loudness carry an emotion.

    Parameters
    ----------
    scene : Scene
        What is heard.
    rng : numpy.random.Generator
        Pitch of the speaker, phase and noise.

    Returns
    -------
    ndarray of float32, shape (time,)
        From -1 to 1, at 16 kHz.
    """
    pitch_hz, swing_hz = _VOICES[scene.voice]
    pitch_hz *= np.exp(rng.normal(0, 0.06))
    time_s = np.arange(round(_DURATION_S * AUDIO_RATE_HZ)) / AUDIO_RATE_HZ
    phase = 2 * np.pi * (pitch_hz * time_s + rng.random())
    tone = sum(np.sin(k * phase) / k for k in range(1, 5))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * (swing_hz * time_s + rng.random()))
    noisy = 0.3 * loudness * tone + rng.normal(0, 0.02, time_s.shape)
    return np.clip(noisy, -1, 1).astype(np.float32)


def write_video(path: Path, frames: UInt8[np.ndarray, "frame height width 3"]) -> None:
    """Write frames as a video that FFmpeg makes without other libraries.

    Parameters
    ----------
    path : Path
        The file, ending in ``.mp4``.
    frames : ndarray of uint8, shape (frame, height, width, 3)
        Red, green, blue; sides even.

    Raises
    ------
    InputError
        If PyAV is not installed.
    """
    av = require_extra("av", "av", why="to write video")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=_FRAMES_HZ)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 10**6
        for image in frames:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_wav(
    path: Path, sound: Float32[np.ndarray, " time"], *, rate_hz: int = AUDIO_RATE_HZ
) -> None:
    """Write sound of one channel as WAV of 16 bit.

    Parameters
    ----------
    path : Path
        The file.
    sound : ndarray of float32, shape (time,)
        From -1 to 1.
    rate_hz : int
        Sampling rate in hertz.
    """
    replace_file(path, as_wav(sound, rate_hz=rate_hz))
