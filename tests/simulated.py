"""Simulated folders with few people and short videos, for tests of what is in them."""

import hashlib

from merps.datasets.simulate import simulate_dataset

VIDEO_S = (6, 7, 8)
KEYS = ("video_1", "video_2", "video_3")


def write(path, **changes):
    options = {"people": 2, "video_s": VIDEO_S, "seed": 5, "jobs": 1}
    return simulate_dataset(path, **(options | changes))


def names_in(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def digests(root):
    return {
        name: hashlib.sha256((root / name).read_bytes()).hexdigest()
        for name in names_in(root)
    }
