"""Stands in for `criu swrk`: notes what it is asked for and does what a test needs to see.

Environment: FAKE_CRIU_NOTES names the file that gets each request, a line of JSON; FAKE_CRIU_VERSION is what it says
to be ("3.17.1"), FAKE_CRIU_FAILS the line of the log with which it refuses a dump or a restore.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))

from pyruntime.execute.criu import messages  # noqa: E402


def main() -> int:
    connection = socket.socket(fileno=int(sys.argv[2]))
    while data := connection.recv(1 << 16):
        request: dict[str, Any] = messages.decode(data, messages.REQUEST)
        with Path(os.environ["FAKE_CRIU_NOTES"]).open("a") as notes:
            notes.write(json.dumps(request) + "\n")
        send(connection, answer(connection, request))
    return 0


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.send(messages.encode(message, messages.RESPONSE))


def answer(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    kind = request["type"]
    done = {"type": kind, "success": True}
    if kind == messages.VERSION:
        major, minor, least = map(int, os.environ.get("FAKE_CRIU_VERSION", "3.17.1").split("."))
        return done | {"version": {"major_number": major, "minor_number": minor, "sublevel": least}}
    if kind == messages.FEATURE_CHECK:
        return done | {
            "features": dict.fromkeys(request["features"], int("FAKE_CRIU_LACKS" not in os.environ))
        }
    options = request["opts"]
    if fails := os.environ.get("FAKE_CRIU_FAILS"):
        # As the real one does it: through the descriptor table of who made the socket.
        log = Path(f"/proc/{os.getppid()}/fd/{options['work_dir_fd']}/{options['log_file']}")
        log.write_text(f"(00.000001) begin\n(00.000002) Error (criu/x.c:1): {fails}\n(00.000003) end\n")
        return done | {"success": False, "cr_errno": 22}
    if kind == messages.RESTORE:
        return done | {"restore": {"pid": restored(connection)}}
    if kind == messages.DUMP and not options["leave_running"]:
        os.kill(options["pid"], 9)
    return done


def restored(connection: socket.socket) -> int:
    """A process in this one's cgroups that stands for the restored init."""
    process = subprocess.Popen(
        ["sleep", "100"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for script in ("setup-namespaces", "post-restore"):
        notice = {"script": script, "pid": process.pid}
        send(connection, {"type": messages.NOTIFY, "success": True, "notify": notice})
        reply: dict[str, Any] = messages.decode(connection.recv(1 << 16), messages.REQUEST)
        if not reply["notify_success"]:
            process.kill()
            process.wait()
            break
    return process.pid


if __name__ == "__main__":
    sys.exit(main())
