"""Qwen3-VL, read in the order data flows: config, rope, vision, decoder, moe, weights."""
