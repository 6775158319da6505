"""saccade serves the Qwen3-VL family with low latency."""
