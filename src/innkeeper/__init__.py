"""Innkeeper: one host, every kind of guest."""

__version__ = "0.1.0"
