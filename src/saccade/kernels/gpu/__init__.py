"""Triton kernels, each with a twin of the same signature in plain torch; imported only where a device runs them."""
