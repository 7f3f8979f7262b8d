"""Write the containers of torch, Paddle and safetensors without any of the three."""
