"""One module a resource: what each route does."""
