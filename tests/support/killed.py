"""Actions that are killed before each of their file operations, as the system kills: nothing more is done."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

_OPERATIONS = ("open", "os.", "shutil.", "tempfile.", "ctypes.dlsym")
"""Beginnings of the names of audit events that Python raises before a file operation; the last one is raised before
two names change places."""


def killed_before_each(act: Callable[[], object]) -> Iterator[int]:
    """Run ``act`` again and again, each time in a process that is killed one operation later, until it comes through.

    Yields:
        the number of operations that were made, after each kill.
    """
    done = 0
    while _is_killed(act, done):
        yield done
        done += 1
    assert done > 0, "nothing was killed: the action makes no file operation"


def _is_killed(act: Callable[[], object], survived: int) -> bool:
    child = os.fork()
    if child == 0:  # an audit hook stays for the life of a process: this one is made for it
        made = 0

        def hook(event: str, _: object) -> None:
            nonlocal made
            if event.startswith(_OPERATIONS) and event != "os.kill":
                if made >= survived:
                    os.kill(os.getpid(), signal.SIGKILL)
                made += 1

        status = 1
        try:
            sys.addaudithook(hook)
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the action failed: see its traceback"
    return False
