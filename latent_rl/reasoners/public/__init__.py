"""Checkpoints of the public TRM, HRM and DIS code."""
