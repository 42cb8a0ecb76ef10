"""What the outside is told of a job: events, and the webhooks that carry them."""
