"""How much, how fast, how long: limits and policies."""
