"""Agents of stable-baselines3 and the vector environment that they learn in."""
