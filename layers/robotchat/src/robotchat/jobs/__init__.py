"""What a job is: its record, its states, where it is kept, and what a tenant may have of them."""
