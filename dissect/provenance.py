"""With what a result was computed."""

import platform
from importlib.metadata import PackageNotFoundError, version

from dissect.distribution import own_version


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    installed = {"python": platform.python_version(), "dissect": own_version()}
    for name in ("torch", "transformer-lens", "transformers", "numpy", "scipy", "xarray"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed
