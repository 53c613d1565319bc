"""oci-image login: credentials for a registry."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

from oci_image.registry.credentials import Credentials, store_credentials
from oci_image.registry.listing import check_login
from oci_image.registry.options import RegistryOptions
from pyruntime.base.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from oci_image.cli.output import Output

SUMMARY = "log in to a registry"
DESCRIPTION = """\
Ask a registry whether it takes a user's password, and remember it if it does, where podman, skopeo and
docker find it too."""
EXAMPLES = """\
examples:
  oci-image login registry.example
  oci-image login -u me --password-stdin registry.example < password-file"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's options."""
    parser.add_argument("--username", "-u", default="", help="who")
    parser.add_argument(
        "--password", "-p", default="", help="the password, which every user of this machine can see then"
    )
    parser.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    parser.add_argument(
        "--authfile", default="", metavar="FILE", help="where to remember (default: $REGISTRY_AUTH_FILE)"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="allow unverified certificates and plain HTTP"
    )
    parser.add_argument("--ca-file", default="", metavar="FILE", help="certificates to trust")
    parser.add_argument(
        "registry", nargs="?", default="docker.io", metavar="HOST[:PORT]", help="default: docker.io"
    )


def run(arguments: argparse.Namespace, output: Output) -> int:
    """Carry the verb out."""
    user = arguments.username
    if arguments.password_stdin or arguments.password:
        if not user:
            raise UsageError("a password needs --username")
        if arguments.password_stdin and arguments.password:
            raise UsageError("--password and --password-stdin do not go together")
    if arguments.password:
        output.warn("others can see a password of the command line; use --password-stdin")
        password = arguments.password
    elif arguments.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        user = user or input("Username: ")
        password = getpass.getpass("Password: ")
    else:
        raise UsageError("no terminal to ask for the password", hint="use --password-stdin")
    if not user or not password:
        raise UsageError("user or password is empty")
    credentials = Credentials(user, password)
    options = RegistryOptions(insecure=arguments.insecure, ca_file=arguments.ca_file, credentials=credentials)
    check_login(arguments.registry, options)
    path = store_credentials(arguments.registry, credentials, arguments.authfile)
    output.result("Login Succeeded!", {"registry": arguments.registry, "username": user, "file": path})
    return 0
