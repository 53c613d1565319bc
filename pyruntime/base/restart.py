"""The point up to which a command may be run again from its beginning.

A program whose interpreter is static (see startup/saved_heap/README.md) cannot load shared libraries.  A command
that needs one is therefore run again in a full interpreter, at the moment of the import.  That is right only as
long as nothing was done that would be done twice, so imports of ctypes and its like belong in front of this point.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

side_effects = False
# What is to be taken back before the command runs again.
beforehand: "list[Callable[[], None]]" = []


def forbid() -> None:
    """From here on the command changes the system; a module that is missing now is a bug."""
    global side_effects
    side_effects = True
