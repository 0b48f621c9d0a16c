"""ARC: riddles told by demonstrations."""
