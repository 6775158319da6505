"""The OpenAI-compatible HTTP API over a backend; no engine, no model and no torch in here."""
