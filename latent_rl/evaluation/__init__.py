"""How good a reasoner is, and where its compute is dead."""
