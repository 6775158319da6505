"""Whether this machine can serve what it is asked to: facts, checks, and what mends what is wrong."""
