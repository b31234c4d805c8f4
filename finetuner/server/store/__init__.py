"""The database and the blobs: the service's only memory."""
