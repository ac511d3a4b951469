"""Preprocessed recordings on disk: published once, checksummed, read as views."""

from merps.store.files import remove_leftovers, require_space
from merps.store.index import Store
from merps.store.inputs import FileDigests, person_key
from merps.store.units import StoredPerson, has_person, publish_person, unit_path

__all__ = [
    "FileDigests",
    "Store",
    "StoredPerson",
    "has_person",
    "person_key",
    "publish_person",
    "remove_leftovers",
    "require_space",
    "unit_path",
]
