"""The autopsy: stored results in, one page out; ``dissect.report(pair, ...)`` is `dissect.report.report.report`.

The package and the function have one name, and importing anything of the package puts it where the function would
stand. So the package itself can be called.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """`dissect.report.report.report`."""
        from dissect.report.report import report

        return report(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
