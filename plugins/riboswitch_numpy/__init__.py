"""The NumPy backend: readable, float64-capable, the judge of the others."""
