"""Read the files of torch, Paddle and safetensors without any of the three, executing nothing."""
