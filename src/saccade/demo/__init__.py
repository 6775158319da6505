"""The small bundled model: the synthetic world it knows, its training, its evaluation, its checkpoint."""
