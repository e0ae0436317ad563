"""Bundled data files; SOURCES.md states origin, licence and units of each."""
