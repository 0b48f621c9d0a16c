"""Parts of `reproduce_paper.py`: what is trained, how it is measured, and the report."""
