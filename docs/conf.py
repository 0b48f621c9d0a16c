"""How Sphinx builds these pages: `sphinx-build -W docs site`."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import latent_rl

project = "latent_rl"
author = "The latent_rl developers"
release = latent_rl.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "latent_rl"

default_role = "code"  # docstrings write `name` for code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autosummary_generate = False
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_custom_sections = ["Source", "Differs"]


def _headings(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Environments write Gymnasium's `## Rewards` in their docstrings."""
    lines[:] = [re.sub(r"^## (.+)", r".. rubric:: \1\n", line) for line in lines]
    lines[:] = "\n".join(lines).split("\n")


def setup(app: object) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _headings)  # type: ignore[attr-defined]
