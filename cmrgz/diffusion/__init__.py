"""The kit for denoisers: noise levels, objectives, samplers, inpainting, and the model that plugins compose."""
