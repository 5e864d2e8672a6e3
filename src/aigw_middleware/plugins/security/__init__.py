"""What may come in: protection of the service."""
