"""The one exception that a user of dissect can cause."""


class DissectError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: what was wrong, the value seen, and the way out. The command line prints it and exits
    with status 2; in Python it is an ordinary ``ValueError``.
    """
