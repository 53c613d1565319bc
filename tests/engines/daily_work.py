"""What every engine's test has in common: a user's day, a process that can be stopped, a seccomp profile."""

from pathlib import Path

from tests.engines.engine import Engine
from tests.engines.registry import ADDRESS

TRAP = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done"
SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
DAY = """\
# load an image and list it
Loaded image: localhost/box:1
localhost/box:1
# run it twice at once
one localhost/box:1
two localhost/box:1
# look inside
one
I am one
two
I am two
false: 1
# attach to one that listens
0
heard hello
# build from a Dockerfile
built
0
# commit, tag, push, remove, pull
one
# save and load, export and import
one
two
# stop and remove
one
two
exited 3
exited 3
3
localhost/box:1
"""


def work_a_day(engine: Engine, name: str, *options: str) -> str:
    """What daily_work.sh prints with an engine whose registry has been started."""
    script = Path(__file__).with_suffix(".sh")
    words = (str(script), name, engine.runtime, f"{engine.sandbox.directory}/box.tar", ADDRESS, *options)
    outcome = engine.sandbox.call("bash", *words)
    assert outcome.code == 0, outcome
    return outcome.out
