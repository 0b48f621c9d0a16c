"""A comparison told: tables, plots, TensorBoard, replays."""
