"""What the outside world learns of a job: events, and the webhooks that carry them."""
