"""Bulk work: `plan` cuts the input, `run_chunk` computes a part, `commit` makes it whole."""
