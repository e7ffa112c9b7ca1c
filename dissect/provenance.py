"""With what a result was computed."""

import platform
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("dissect", "torch", "transformer-lens", "transformers", "numpy", "scipy", "xarray"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a source tree that was put on the path without being installed
            found[name] = "not installed"
    return found
