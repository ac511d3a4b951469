"""Readers of file formats: one file in, arrays and facts out."""
