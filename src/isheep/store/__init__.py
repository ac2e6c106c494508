"""The run directory: the only rooms that write or read it."""
