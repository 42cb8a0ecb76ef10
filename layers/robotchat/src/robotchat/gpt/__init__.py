"""Language models: chat, completions, and responses that remember."""
