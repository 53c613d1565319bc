# Written by launcher_build.py.
NAMES: tuple[str, ...]
ABSENT: tuple[str, ...]
