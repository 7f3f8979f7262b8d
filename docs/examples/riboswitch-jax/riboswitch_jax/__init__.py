"""A JAX backend: one pure function for any architecture."""
