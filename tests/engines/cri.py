"""containerd's CRI plugin, driven as the kubelet drives it.

Pods and containers are the JSON that crictl takes from files too. Source: k8s.io/cri-api, runtime/v1.
"""

import base64
import importlib
import time
from collections.abc import Mapping
from typing import Any

from tests.engines import images
from tests.engines.differential import runtime_path
from tests.engines.engine import Engine
from tests.engines.sandbox import Place
from tests.engines.streams import Ended, Stream

IMAGE = images.NAME
SECONDS = 60
CNI_PROGRAMS = "/usr/lib/cni"
HANDLER = """
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
    BinaryName = "{path}"
    SystemdCgroup = {systemd}
"""
NETWORK = """{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "pods0", "isGateway": true, "ipam":
    {{"type": "host-local", "dataDir": "{top}/leases", "ranges": [[{{"subnet": "10.88.0.0/16"}}]]}}}}]}}
"""


class CriError(Exception):
    """What the CRI answered instead: its status code and message."""


def write_config(sandbox: Place, runtimes: tuple[str, ...], *, systemd: bool = False) -> str:
    """Write a configuration of containerd with one handler for each runtime, and one network for pods."""
    top = sandbox.directory
    sandbox.write("cni/pods.conflist", NETWORK.format(top=top))
    handlers = "".join(
        HANDLER.format(name=name, path=runtime_path(name), systemd=str(systemd).lower()) for name in runtimes
    )
    return sandbox.write(
        "containerd.toml",
        f'version = 2\nroot = "{top}/root"\nstate = "{top}/state"\n'
        f'[grpc]\naddress = "{top}/containerd.sock"\n[ttrpc]\naddress = "{top}/containerd.sock.ttrpc"\n'
        f'[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "{images.PAUSE}"\nstats_collect_period = 1\n'
        # a machine may have taken from its root the privilege to lower the score below its own
        "restrict_oom_score_adj = true\n"
        f'[plugins."io.containerd.grpc.v1.cri".cni]\nbin_dir = "{CNI_PROGRAMS}"\nconf_dir = "{top}/cni"\n'
        + handlers,
    )


class Cri(Engine):
    """The CRI, with one handler chosen for all pods; names of pods need be unique in it alone."""

    def __init__(self, sandbox: Place, runtime: str, address: str = "containerd.sock") -> None:
        super().__init__(sandbox, runtime)
        self._rpc = importlib.import_module("grpc")
        self._json = importlib.import_module("google.protobuf.json_format")
        self._messages, services = self._rpc.protos_and_services("tests/engines/cri.proto")
        self._channel = self._rpc.insecure_channel(f"unix://{sandbox.seen(address)}")
        self._pods: dict[str, dict[str, Any]] = {}
        self._service = services.RuntimeServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def ask(self, verb: str, message: str = "Empty", **fields: Any) -> dict[str, Any]:
        """Call `verb` with a `message` of these fields; returns the answer's fields.

        Raises:
            CriError: the CRI refused.
        """
        request = self._json.ParseDict(fields, getattr(self._messages, message)())
        try:
            answer = getattr(self._service, verb)(request, timeout=SECONDS, wait_for_ready=True)
        except self._rpc.RpcError as error:
            raise CriError(f"{verb}: {error.code().name}: {error.details()}") from error
        options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
        fields_of_answer: dict[str, Any] = self._json.MessageToDict(answer, **options)
        return fields_of_answer

    def pod_config(self, name: str, linux: Mapping[str, Any] | None = None) -> dict[str, Any]:
        shared = (linux or {}).get("security_context", {}).get("namespace_options", {})
        return {
            "metadata": {"name": name, "uid": f"{self.runtime}-{name}", "namespace": self.runtime},
            "hostname": "" if shared.get("network") == "NODE" else name,
            "log_directory": f"{self.directory}/logs/{name}",
            "linux": {"cgroup_parent": f"{self.sandbox.cgroup}/{self.runtime}", **(linux or {})},
        }

    def run_pod(self, name: str, **linux: Any) -> str:
        """crictl runp; returns the pod's id."""
        config = self.pod_config(name, linux)
        message = "RunPodSandboxRequest"
        answer = self.ask("RunPodSandbox", message, config=config, runtime_handler=self.runtime)
        pod = str(answer["pod_sandbox_id"])
        self._pods[pod] = config
        return pod

    def remove_pod(self, pod: str) -> None:
        """crictl stopp and rmp."""
        self.ask("StopPodSandbox", "PodId", pod_sandbox_id=pod)
        self.ask("RemovePodSandbox", "PodId", pod_sandbox_id=pod)

    def remove_pods(self) -> None:
        """Stop and remove every pod of this runtime, and its logs."""
        for pod in self.ask("ListPodSandbox")["items"]:
            if self.owns(pod):
                self.remove_pod(pod["id"])
        self.sandbox.check("rm", "-rf", f"{self.directory}/logs")

    def owns(self, pod: Mapping[str, Any]) -> bool:
        """Whether an item of ListPodSandbox is of this runtime."""
        return bool(pod["runtime_handler"] == self.runtime)

    def create(self, pod: str, name: str, *command: str, **config: Any) -> str:
        """crictl create; returns the container's id."""
        container = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}.log",
            **config,
        }
        answer = self.ask(
            "CreateContainer", "CreateContainerRequest", pod_sandbox_id=pod, config=container,
            sandbox_config=self._pods[pod],
        )  # fmt: skip
        return str(answer["container_id"])

    def start(self, container: str) -> None:
        self.ask("StartContainer", "ContainerId", container_id=container)

    def run(self, pod: str, name: str, *command: str, **config: Any) -> str:
        """Create and start a container; returns its id."""
        container = self.create(pod, name, *command, **config)
        self.start(container)
        return container

    def update(self, container: str, **resources: int) -> None:
        """crictl update."""
        message = "UpdateContainerResourcesRequest"
        self.ask("UpdateContainerResources", message, container_id=container, linux=resources)

    def stop(self, container: str, seconds: int = 10) -> None:
        self.ask("StopContainer", "StopContainerRequest", container_id=container, timeout=seconds)

    def remove(self, container: str) -> None:
        self.ask("RemoveContainer", "ContainerId", container_id=container)

    def status(self, container: str) -> dict[str, Any]:
        status: dict[str, Any] = self.ask("ContainerStatus", "ContainerId", container_id=container)["status"]
        return status

    def wait_exit(self, container: str) -> tuple[int, str]:
        """Wait for the container's end; returns its exit code and the reason."""
        deadline = time.monotonic() + 20
        while (status := self.status(container))["state"] != "CONTAINER_EXITED":
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status["exit_code"], status["reason"]

    def execute(self, container: str, *command: str) -> Ended:
        """crictl exec --sync."""
        answer = self.ask("ExecSync", "ExecSyncRequest", container_id=container, cmd=command, timeout=20)
        out, err = (base64.b64decode(answer[name]).decode() for name in ("stdout", "stderr"))
        return Ended(answer["exit_code"], out, err)

    def stream(self, verb: str, container: str, **options: Any) -> Stream:
        """crictl exec or crictl attach, with whatever of stdin, stdout, stderr and tty is asked for."""
        answer = self.ask(verb, f"{verb}Request", container_id=container, **options)
        return Stream(self.sandbox.first, answer["url"])

    def log(self, name: str, pod_name: str = "pod") -> str:
        """crictl logs: what the container wrote, without times; a line of standard error starts with "err "."""
        path = self.sandbox.seen(f"{self.runtime}/logs/{pod_name}/{name}.log")
        lines = [line.split(" ", 3)[1::2] for line in path.read_text().splitlines()]
        return "".join(f"{'err ' if stream == 'stderr' else ''}{text}\n" for stream, text in lines)
