"""Stages on arrays between a recording and the store."""
