"""Notes: what deserves a line but is no error, such as how a file was read and what of it was left out."""

import logging


def note(text: str) -> None:
    """Say it by Python's logging, under "latent_rl": a line on standard error unless the program decides otherwise."""
    logging.getLogger("latent_rl").warning("note: %s", text)
