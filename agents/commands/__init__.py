"""The commands that train, compare and apply agents."""
