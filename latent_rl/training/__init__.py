"""Labels, rewards and paths become weights."""
