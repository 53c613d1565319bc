"""A registry on the sandbox's own loopback, to push to and pull from."""

import contextlib

from tests.engines.sandbox import Place

ADDRESS = "127.0.0.1:5000"  # nobody else is in the sandbox's network


def start_registry(sandbox: Place) -> "contextlib.AbstractContextManager[object]":
    """A registry that keeps its images in the sandbox's memory."""
    config = sandbox.write(
        "registry.yml",
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n"
        f"    rootdirectory: {sandbox.directory}/registry\nhttp:\n  addr: {ADDRESS}\n",
    )
    ready = ("bash", "-c", "exec 3<>/dev/tcp/" + ADDRESS.replace(":", "/"))
    return sandbox.daemon("registry", "docker-registry", "serve", config, ready=ready)
