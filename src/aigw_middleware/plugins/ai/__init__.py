"""Plug-ins that know LLM calls."""
