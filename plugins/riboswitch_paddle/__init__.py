"""The Paddle backend: one `paddle.nn.Layer` for any architecture."""
