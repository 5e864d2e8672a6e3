"""Who is calling: authentication."""
