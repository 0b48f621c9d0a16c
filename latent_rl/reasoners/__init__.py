"""Reasoners: networks that recurse behind one protocol."""
