"""Adapters for other libraries, each of which is imported by its own module only."""
