"""The model families as data: architectures, alphabets, where the weights are."""
