"""HTTP: the OpenAI-compatible interface of a backend."""
