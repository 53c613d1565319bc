"""An OCI runtime that can say what it does."""

from pyruntime.version import VERSION

__version__ = VERSION
