"""Tasks: puzzle in, answer out, verify, render."""
