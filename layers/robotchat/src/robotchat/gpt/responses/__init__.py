"""The Responses API: requests that chain, over any upstream."""
