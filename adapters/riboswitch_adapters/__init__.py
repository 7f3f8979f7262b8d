"""Checkpoints of other programs: containers, and tables of their names."""
