"""The PyTorch backend: one `torch.nn.Module` for any architecture."""
