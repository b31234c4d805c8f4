"""The event-loop thread behind the sync client: one a process, a new one after a fork.

`portal.call` runs a coroutine function and waits for it; a `Stream` gives an async iterator's items to a thread.
"""

from finetuner.portal.calls import BlockingCallWarning, Portal, on_caller, portal
from finetuner.portal.faces import inner, inners
from finetuner.portal.streams import Stream

__all__ = ["BlockingCallWarning", "Portal", "Stream", "inner", "inners", "on_caller", "portal"]
