"""From a file to validated models: loading, secrets, rules."""
