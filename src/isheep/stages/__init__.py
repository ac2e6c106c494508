"""The stages of Algorithm 1, a room each. A stage that is done returns at once; one that was cut goes on."""
