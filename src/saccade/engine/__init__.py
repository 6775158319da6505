"""Token ids and pictures become token ids; no text and no HTTP in here."""
