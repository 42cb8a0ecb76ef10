"""OpenAI's Responses over any chat upstream: the engine, its items, events and store."""
