"""What happens to a job, from its acceptance to its end."""
