"""An OCI runtime that can say what it does."""

from pyruntime.version import VERSION as __version__

__all__ = ["__version__"]
