"""Data sets: folders in, trials out."""
