"""Ledgers of what the device remembers: ids, sizes and references; no tensors and no torch in here."""
