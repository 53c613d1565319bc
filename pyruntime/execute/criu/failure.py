"""What CRIU says when it fails, and what may help: the last errors of its log, with a hint for the usual ones."""

from pyruntime.base.errors import HostError, errno_text
from pyruntime.execute.criu.messages import TYPE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.execute.criu.messages import Message

_QUOTED = 3
_LAST_BYTES = 1 << 16

# What stands in the log -> what to do; the first that is found counts.
_HINTS = (
    (("Connected TCP socket", "tcp-established"), "add --tcp-established, to checkpoint and to restore"),
    (("External socket is used", "ext-unix-sk", "external unix"), "add --ext-unix-sk"),
    (("shell-job", "dangling tty", "A session leader of"), "add --shell-job, to checkpoint and to restore"),
    (("file-locks", "file locks"), "add --file-locks, to checkpoint and to restore"),
    (("link-remap", "link remap"), "add --link-remap"),
    (("iptables", "ip6tables", "nft "), "install iptables, or choose another --network-lock"),
    (("vdso", "kerndat"), "this CRIU does not know this kernel: `criu check` says more; install a newer one"),
    (
        ("doesn't have a proper root mount", "has unreachable sharing"),
        "a mount of the container comes from outside and is not in its config: unmount it first",
    ),
    (
        ("Can't lookup mount",),
        "the container holds a file or a terminal open that is outside of it: start it without that",
    ),
    (("Can't open", "Unable to open"), "these are perhaps not the images of a checkpoint: see --image-path"),
)


def criu_failure(answer: "Message", log: str) -> HostError:
    """The error for an answer that says no; `log` is CRIU's log file."""
    kind, number = answer.get("type"), answer.get("cr_errno")
    name = TYPE_NAMES.get(kind, str(kind)) if isinstance(kind, int) else "EMPTY"
    code = number if isinstance(number, int) else 0
    text = f"criu failed: type {name} errno {code}"
    if code > 0:
        text += f" ({errno_text(code)})"
    said, lines = answer.get("cr_errmsg"), last_errors(log)
    if isinstance(said, str) and not lines and said.strip():
        lines = [_stripped(said)]
    if lines:
        text += ": " + "; ".join(lines)
    return HostError(text, where=log, hint=_hint(lines))


def last_errors(log: str) -> list[str]:
    """The last errors in CRIU's log, without times and places in its source."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    errors = [_stripped(line) for line in text.splitlines() if "Error (" in line]
    # The last line says no more than that it failed.
    return [line for line in errors if not line.endswith("ing FAILED.")][-_QUOTED:]


def _stripped(line: str) -> str:
    """`(00.0123)     42: Error (criu/x.c:7): words` becomes `words`."""
    return line.partition("Error (")[2].partition("): ")[2].strip() or line.strip()


def _hint(lines: list[str]) -> str:
    text = "\n".join(lines)
    for words, hint in _HINTS:
        if any(word in text for word in words):
            return hint
    return "the log says more" if lines else "run `criu check` as root"
