"""Training: the loop in plain sight, and the one step that it takes."""
