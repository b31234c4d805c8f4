"""The service: HTTP over a database, a scheduler, and executors that start runs."""
