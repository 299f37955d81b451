"""Fixtures shared by all tests; one Ray for the whole session."""
