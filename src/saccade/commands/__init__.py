"""Groups of commands that `cli` hangs into its tree."""
