"""Puzzles of the user: files of text, tables, JSON and arrays."""
