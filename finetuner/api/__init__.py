"""What both ends agree on: types, names, routes, and the protocol without I/O."""
