"""One SD host: what may be asked of it, and what to believe of its answers."""
