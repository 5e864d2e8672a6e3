"""A chat service on Django, with one gateway around what comes in and what goes out."""
