"""How a sweep is run: which jobs, in which processes, and what is left when it ends early."""
