"""How to reach registries, as a caller says it."""

from __future__ import annotations

from oci_image.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci_image.registry.credentials import Credentials


class RegistryOptions(Value):
    """How to reach registries; what is not said is looked up where containers' and Docker's tools do.

    `insecure` allows certificates that cannot be verified and, after those, plain HTTP; both are always
    allowed for loopback addresses.  `ca_file` is trusted beside the system's certificates, and `cert_dir` is
    used instead of the host's directories of certs.d.  `registries_conf` is read instead of the usual files,
    and `hosts_dir` instead of containerd's directory of hosts.toml.
    `first_wait` is the pause in seconds before the first retry; it doubles.  `read_timeout` is how long
    in seconds a connection may be silent.  `chunk_bytes` is what one request of an upload carries; 0 sends a
    blob in one request, unless the registry refuses that.  With `remember` false nothing is kept of which
    repository has which layers, so that later pushes cannot have them mounted.
    """

    insecure: bool = False
    ca_file: str = ""
    cert_dir: str = ""
    authfile: str = ""
    registries_conf: str = ""
    hosts_dir: str = ""
    credentials: Credentials | None = None
    first_wait: float = 0.5
    read_timeout: float = 60.0
    chunk_bytes: int = 0
    remember: bool = True
