"""The centre: what an environment is, what follows from its specs, and how it is run and checked."""
