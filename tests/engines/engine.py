"""An engine's command line, set to one runtime."""

import os
import subprocess
import time

from tests.engines.sandbox import Outcome, Place


class Engine:
    """What the tests ask of every engine; `command` holds the first words of its command line."""

    command: list[str]

    def __init__(self, sandbox: Place, runtime: str) -> None:
        self.sandbox = sandbox
        self.runtime = runtime
        self.directory = f"{sandbox.directory}/{runtime}"
        sandbox.check("mkdir", "-p", self.directory)

    def arguments(self, *arguments: str) -> tuple[str, ...]:
        """The arguments with what this engine needs for its runtime added."""
        return arguments

    def call(self, *arguments: str, stdin: str = "") -> Outcome:
        return self.sandbox.call(*self.command, *self.arguments(*arguments), stdin=stdin)

    def check(self, *arguments: str, stdin: str = "") -> str:
        """Run a command that must succeed; returns its output."""
        outcome = self.call(*arguments, stdin=stdin)
        assert outcome.code == 0, f"{self.runtime}: {arguments}: {outcome}"
        return outcome.out

    def inspect(self, template: str, name: str) -> str:
        return self.check("inspect", "--format", template, name).strip()

    def wait_log(self, name: str, text: str) -> None:
        """Wait until the container has written `text`."""
        deadline = time.monotonic() + 10
        while text not in self.call("logs", name).out:
            assert time.monotonic() < deadline, f"{text!r} is not in the log of {name}"
            time.sleep(0.05)

    def in_terminal(self, *arguments: str, typed: str) -> tuple[int, str]:
        """Run a command in a terminal; returns exit code and what appeared."""
        master, slave = os.openpty()
        process = subprocess.Popen(
            self.sandbox.argv(
                "setsid", "-cw", "timeout", "--foreground", "30", *self.command, *self.arguments(*arguments)
            ),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        os.write(master, typed.encode())
        shown = b""
        try:
            while data := os.read(master, 65536):
                shown += data
        except OSError:  # EIO: the last holder of the terminal is gone
            pass
        os.close(master)
        return process.wait(30), shown.decode()
