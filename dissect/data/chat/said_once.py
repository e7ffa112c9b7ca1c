"""A line in the log that a tokenizer gets once, however often prompts are made with it."""

import logging
from typing import Any
from weakref import WeakKeyDictionary

log = logging.getLogger(__name__)
_said: WeakKeyDictionary[Any, set[Any]] = WeakKeyDictionary()


def said_once(tokenizer: Any, message: str, *values: Any, about: Any = None) -> None:
    """Warn about something that holds for all prompts of this tokenizer.

    Args:
        message, values: as for `logging`; the same message is not repeated for other values.
        about: what the message is about, where it may be said once for each of several things.
    """
    try:
        before = _said.setdefault(tokenizer, set())
    except TypeError:  # an object that cannot be a key
        before = set()
    if (message, about) not in before:
        before.add((message, about))
        log.warning(message, *values)
