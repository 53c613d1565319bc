"""Who runs this program, and with whose rights."""

import os


def default_root(environment: "os._Environ[str] | dict[str, str]") -> str:
    """Where containers are kept when nothing else is said.

    Like runc: $XDG_RUNTIME_DIR serves another user than root, and root inside a user namespace unless $USER
    says that the session itself is root's.
    """
    folder = environment.get("XDG_RUNTIME_DIR", "")
    if folder and (os.geteuid() != 0 or (_in_user_namespace() and environment.get("USER") != "root")):
        return f"{folder}/pyruntime"
    return "/run/pyruntime"


def _in_user_namespace() -> bool:
    # Imported when asked: most starts are without XDG_RUNTIME_DIR and need not know.
    from pyruntime.host.facts import in_user_namespace

    return in_user_namespace()


def user_name(user_id: int, users: str = "/etc/passwd") -> str:
    """The name of a user as `list` shows it: from the password file, else "#" and the number."""
    try:
        with open(users, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split(":")
                if len(fields) > 2 and fields[2] == str(user_id):
                    return fields[0]
    except OSError:
        pass
    return f"#{user_id}"
