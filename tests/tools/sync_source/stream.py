"""The base of streams, as the async SDK has one."""


class AsyncStream:
    """Its sync counterpart is written by hand."""
