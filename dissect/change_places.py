"""Two paths that change places in one step, so that neither name is ever without one of them."""

import ctypes
import errno
import os

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Let two paths on one file system change places; False where the system or the file system cannot.

    Python has no call for it: Linux's ``renameat2`` is asked for in the C library.

    Raises:
        OSError: one of them does not exist, or may not be moved.
    """
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no such function, or no C library under that name
        return False
    paths = os.fsencode(first), os.fsencode(second)
    if call(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), os.fspath(second))
