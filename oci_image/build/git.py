"""Files of git repositories, by the program git: ADD, contexts and named contexts.

Source: Dockerfile reference, "Adding files from a Git repository"; docker's "Build context", "Git repositories".
"""

from __future__ import annotations

import os
import re
import subprocess
from oci_image.value import Value

from oci_image.errors import ImageError, IntegrityError
from oci_image.layers.removal import remove_tree
from pyruntime.base.errors import HostError

_TIMEOUT = 1800  # seconds for one call
_SETTINGS = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.file.allow=never", "-c", "advice.detachedHead=false")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


class GitSource(Value):
    """A repository, what of it is meant ("" for its own choice), and the directory in it."""

    url: str
    ref: str
    directory: str


def parse_git_url(text: str) -> GitSource | None:
    """The repository that a URL `URL[#REF[:DIRECTORY]]` means; None if it is none."""
    url, _, fragment = text.partition("#")
    is_git = (
        re.match(r"(?:git|ssh)://[^-]", url)
        or re.match(r"[A-Za-z0-9][\w.-]*@[A-Za-z0-9][\w.-]*:[^-]", url)
        or re.match(r"https?://.*\.git/?$", url, re.IGNORECASE)
    )
    if not is_git:
        return None
    ref, _, directory = fragment.partition(":")
    if ref.startswith("-"):
        raise ImageError(f"invalid git reference {ref!r}", where=text)
    return GitSource(url, ref, directory)


def fetch_repository(source: GitSource, directory: str, *, checksum: str = "", keep_git: bool = False) -> str:
    """Check a repository out in a new directory below `directory`; its path.

    All files have the time of the commit.  `checksum` is the commit that it must be, or the start of its name.
    Raises: ImageError, IntegrityError, HostError if there is no git.
    """
    path = os.path.join(directory, "repository")
    os.mkdir(path, 0o755)
    _git(source, path, "init", "--quiet")
    _git(source, path, "remote", "add", "--", "origin", source.url)
    _fetch(source, path)
    _git(source, path, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
    commit = _git(source, path, "rev-parse", "HEAD")
    if checksum and not (_COMMIT.fullmatch(checksum) and commit.startswith(checksum)):
        raise IntegrityError(f"repository is at the commit {commit}, not {checksum}", where=source.url)
    if os.path.lexists(os.path.join(path, ".gitmodules")):
        _git(source, path, "submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1")
    seconds = int(_git(source, path, "log", "-1", "--format=%ct"))
    if not keep_git:
        _drop_git(path)
    for folder, names, files in os.walk(path, topdown=False):
        for name in names + files:
            os.utime(os.path.join(folder, name), (seconds, seconds), follow_symlinks=False)
    os.utime(path, (seconds, seconds))
    return path


def _fetch(source: GitSource, path: str) -> None:
    wanted = source.ref or "HEAD"
    try:
        _git(source, path, "fetch", "--quiet", "--depth", "1", "--no-tags", "origin", wanted)
        return
    except ImageError as error:
        problem = error
    # Plain file servers know no depth, and others give no commit that nothing points to: fetch all of it.
    try:
        _git(source, path, "fetch", "--quiet", "origin", "+refs/*:refs/all/*", "HEAD")
    except ImageError:
        raise problem from None
    for name in (f"refs/all/heads/{wanted}", f"refs/all/tags/{wanted}", wanted) if source.ref else ():
        try:
            commit = _git(source, path, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except ImageError:
            continue
        _git(source, path, "update-ref", "--no-deref", "FETCH_HEAD", commit)
        return
    if source.ref:
        raise ImageError(f"repository has no {source.ref!r}", where=source.url)
    # With several lines in it the first counts, which need not be HEAD's.
    head = _git(source, path, "ls-remote", "origin", "HEAD").split()
    _git(source, path, "update-ref", "--no-deref", "FETCH_HEAD", head[0] if head else "HEAD")


def _drop_git(path: str) -> None:
    for folder, names, files in os.walk(path):
        if ".git" in files:  # of a submodule, says where the rest is
            os.unlink(os.path.join(folder, ".git"))
        if ".git" in names:
            names.remove(".git")
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                remove_tree(fd, b".git", device=os.fstat(fd).st_dev)
            finally:
                os.close(fd)


def _git(source: GitSource, path: str, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {name: os.environ[name] for name in ("GIT_SSH", "GIT_SSH_COMMAND") if name in os.environ}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *_SETTINGS, "-C", path, *words],
            check=False, capture_output=True, stdin=subprocess.DEVNULL, env=environment, umask=0o022, timeout=_TIMEOUT,
        )  # fmt: skip
    except FileNotFoundError:
        raise HostError("there is no git program", where=source.url, hint="install git") from None
    except subprocess.TimeoutExpired:
        raise ImageError(f"git took longer than {_TIMEOUT} s", where=source.url) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ImageError(f"git {words[0]} failed: {said[-1] if said else done.returncode}", where=source.url)
    return done.stdout.decode("utf-8", "replace").strip()
