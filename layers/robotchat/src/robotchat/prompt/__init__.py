"""From what a user says to the prompt that is drawn."""
