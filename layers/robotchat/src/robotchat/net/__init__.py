"""Requests to addresses that callers name."""
