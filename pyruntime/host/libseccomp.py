"""The version of the libseccomp that is installed here, without loading it."""

import os
import sys

_NAME = "libseccomp.so.2"


def libseccomp_version() -> str:
    """The version, such as "2.5.4", or "" if there is no libseccomp in the usual folders."""
    multiarch = getattr(sys.implementation, "_multiarch", "")
    for folder in (f"/usr/lib/{multiarch}", f"/lib/{multiarch}", "/usr/lib64", "/usr/lib", "/lib64", "/lib"):
        try:
            target = os.readlink(f"{folder}/{_NAME}")
        except OSError:
            continue
        return os.path.basename(target).partition(".so.")[2]
    return ""
