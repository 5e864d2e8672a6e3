"""What the gateway knows of LLM calls: dialects, event streams, usage, tokens, errors."""
