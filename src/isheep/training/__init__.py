"""One training: what it learns from, its steps, the weights that it changes, and its way through kills and memory."""
