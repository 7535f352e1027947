"""From vectors to runs: index, search, read."""
