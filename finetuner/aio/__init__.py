"""The async client: written by hand; the sync facade is generated from it."""
