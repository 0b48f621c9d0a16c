"""Completing a placement of queens."""
