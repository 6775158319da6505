"""Bytes become small uint8 pictures; no tokens and no model in here."""
