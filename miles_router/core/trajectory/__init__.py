"""Trajectories: turns, what produced their tokens, and how they are read back."""
