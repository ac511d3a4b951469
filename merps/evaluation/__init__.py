"""Protocols and statistics."""
