"""All state and its vocabulary: SQL rows, Redis presence, wire events."""
