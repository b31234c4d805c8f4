"""What a run executes: the supervisor and the training worker."""
