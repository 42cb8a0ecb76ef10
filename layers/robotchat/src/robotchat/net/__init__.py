"""Requests to addresses that others give."""
