"""The report."""

from pathlib import Path


def write_report(results: Path, document: Path) -> None:
    """Write it."""
