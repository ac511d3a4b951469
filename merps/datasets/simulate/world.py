"""What simulated people feel and rate: courses shared by all, and each one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from merps.shapes import Targets
from merps.splits import EMOTION_SIDES, MER_PS_EMOTIONS

#: Seconds of MER-PS V1..V15 as released.
VIDEO_SECONDS = (135, 137, 90, 79, 135, 93, 122, 107, 70, 60, 61, 63, 111, 103, 170)
#: Rest before each video, in seconds.
REST_S = 5
#: Seconds by which a rating trails the brain activity that it reports.
ANNOTATION_LAG_S = 2.0

# Standard deviations on the label scale, valence and arousal; chosen so that constant,
# video and video-time medians score as published under leave-people-out.
_LEVEL = np.array([52.0, 44.0])  # of a video, along its quadrant
_LEVEL_JITTER = np.array([6.0, 6.0])  # of a video, off its quadrant
_COURSE = np.array([26.0, 17.0])  # inside a video, shared by all people
_PERSON = np.array([7.0, 8.0])  # of a person over all videos
_REACTION = np.array([26.0, 31.0])  # of a person in a video
_DRIFT = np.array([21.0, 24.0])  # of a person inside a video
_COURSE_S, _DRIFT_S, _ONSET_S = 12.0, 15.0, 6.0  # correlation times

#: Planted sources: name, dimension followed, sign, band of the EEG in hertz.
SOURCES = (
    ("valence alpha", 0, 1.0, (8.0, 13.0)),
    ("valence beta", 0, -1.0, (15.0, 25.0)),
    ("arousal theta", 1, 1.0, (4.0, 8.0)),
    ("arousal gamma", 1, -1.0, (30.0, 42.0)),
)
# Standard deviation and correlation time of what moves a source beside the deviation;
# S = 1 then gives the oracle a Pearson correlation near 0.5 on new people and videos.
_WANDER, _WANDER_S = 0.6, 25.0


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, ...], correlation_s: float
) -> Float64[np.ndarray, "..."]:
    """Draw unit-variance noise along the last axis, one value a second."""
    n_seconds = shape[-1]
    reach = np.arange(-int(4 * correlation_s), int(4 * correlation_s) + 1)
    kernel = np.exp(-0.5 * (reach / correlation_s) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    white = rng.normal(size=(*shape[:-1], n_seconds + len(reach) - 1))
    rows = [
        np.convolve(row, kernel, "valid") for row in white.reshape(-1, white.shape[-1])
    ]
    return np.reshape(rows, shape)


@dataclass(frozen=True)
class World:
    """Videos with their shared courses, and the people who watch them.

    Parameters
    ----------
    seed : int
        Same seed, same videos and people.
    coupling : float
        How strongly planted sources follow a person's deviation; 0 plants none.
    layout : str
        ``trainval`` and ``leaderboard`` hold different people.
    video_s : sequence of int
        Length of each video in seconds.
    """

    seed: int
    coupling: float
    layout: str = "trainval"
    video_s: Sequence[int] = VIDEO_SECONDS

    @property
    def stimuli(self) -> tuple[str, ...]:
        """Names of the videos."""
        return tuple(f"V{k:02d}" for k in range(1, len(self.video_s) + 1))

    @property
    def emotions(self) -> dict[str, str]:
        """Target emotion of each video; more videos than MER-PS has start over."""
        known = list(MER_PS_EMOTIONS.values())
        return {name: known[k % len(known)] for k, name in enumerate(self.stimuli)}

    def rng(self, *stream: int) -> np.random.Generator:
        """Return the generator of one stream of this world.

        Parameters
        ----------
        *stream : int
            What the numbers are for.

        Returns
        -------
        numpy.random.Generator
            The same for the same seed and stream.
        """
        return np.random.default_rng([self.seed, *stream])

    def person_rng(self, person: int, *stream: int) -> np.random.Generator:
        """Return the generator of one stream of one person.

        Parameters
        ----------
        person : int
            Number of the person, from 0.
        *stream : int
            What the numbers are for.

        Returns
        -------
        numpy.random.Generator
            The same for the same seed, layout, person and stream.
        """
        return self.rng(100 + (self.layout == "leaderboard"), person, *stream)

    @cached_property
    def shared(self) -> list[Targets]:
        """Rating of each video that people share, before rounding."""
        courses = []
        for k, (n_seconds, emotion) in enumerate(
            zip(self.video_s, self.emotions.values(), strict=True)
        ):
            rng = self.rng(0, k)
            level = _LEVEL * EMOTION_SIDES[emotion] + _LEVEL_JITTER * rng.normal(size=2)
            wave = smooth_noise(rng, (2, n_seconds), _COURSE_S).T
            wave = (wave - wave.mean(axis=0)) / wave.std(axis=0)
            courses.append(128 + self._onset(n_seconds) * (level + _COURSE * wave))
        return courses

    def deviation(self, person: int, video: int) -> Targets:
        """Return how one person's rating of one video departs from the shared one.

        Parameters
        ----------
        person, video : int
            Numbers from 0.

        Returns
        -------
        ndarray of float64, shape (time, 2)
            Valence and arousal on the label scale, one row a second.
        """
        n_seconds = self.video_s[video]
        rng = self.person_rng(person, 1, video)
        habit = _PERSON * self.person_rng(person, 0).normal(size=2)
        reaction = _REACTION * rng.normal(size=2)
        drift = _DRIFT * smooth_noise(rng, (2, n_seconds), _DRIFT_S).T
        return self._onset(n_seconds) * (habit + reaction + drift)

    def targets(self, person: int, video: int) -> Targets:
        """Return one person's rating of one video as released.

        Parameters
        ----------
        person, video : int
            Numbers from 0.

        Returns
        -------
        ndarray of float64, shape (time, 2)
            Whole numbers from 1 to 255.
        """
        course = self.shared[video] + self.deviation(person, video)
        return np.clip(np.rint(course), 1, 255)

    def courses(self, person: int, video: int) -> Float64[np.ndarray, "source time"]:
        """Return what moves each planted source, as the ratings report it.

        Column t belongs to the rating of second t; the brain runs
        `ANNOTATION_LAG_S` ahead of it.

        Parameters
        ----------
        person, video : int
            Numbers from 0.

        Returns
        -------
        ndarray of float64, shape (source, time)
            Standard units: `coupling` times the deviation in standard deviations,
            plus a slow wander of the source's own.
        """
        scale = np.sqrt(_PERSON**2 + _REACTION**2 + _DRIFT**2)
        follow_tk = self.coupling * self.deviation(person, video) / scale
        n_seconds = self.video_s[video]
        rng = self.person_rng(person, 2, video)
        onset = self._onset(n_seconds)[:, 0]
        shape = (len(SOURCES), n_seconds)
        slow = rng.normal(size=(len(SOURCES), 1)) * np.sqrt(0.5)
        wander = _WANDER * (slow + np.sqrt(0.5) * smooth_noise(rng, shape, _WANDER_S))
        return np.stack(
            [
                sign * follow_tk[:, dimension] + onset * wander[k]
                for k, (_, dimension, sign, _) in enumerate(SOURCES)
            ]
        )

    def _onset(self, n_seconds: int) -> Float64[np.ndarray, "time 1"]:
        """Return how far ratings have left the neutral start, second by second."""
        return 1 - np.exp(-np.arange(n_seconds) / _ONSET_S)[:, None]
