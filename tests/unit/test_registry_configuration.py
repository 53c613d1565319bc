"""registries.conf, certs.d and proxies: what they say, and that a pull does so."""

from __future__ import annotations

import http.client
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from oci_image.errors import RegistryError
from oci_image.model.registry_reference import parse_registry_reference
from oci_image.registry.certificates import certificate_directory
from oci_image.registry.configuration import Registries, load_registries
from oci_image.registry.connections import proxy_for
from oci_image.registry.credentials import Credentials
from oci_image.registry.listing import client_of
from oci_image.registry.options import RegistryOptions
from oci_image.registry.tokens import parse_challenges
from oci_image.store.content import Store
from oci_image.transfer import pull, push
from pyruntime.base.errors import UsageError
from tests.faulty_registry import FaultyRegistry
from tests.image_builder import file, make_layout, tar

DIGEST = "sha256:" + "a" * 64
CONF = """
unqualified-search-registries = ["one.example", "docker.io"]
short-name-mode = "permissive"
[aliases]
"box" = "quay.example/team/box"
[[registry]]
prefix = "a.example"
location = "b.example/cache"
[[registry.mirror]]
location = "m1.example"
insecure = true
[[registry.mirror]]
location = "m2.example/x"
pull-from-mirror = "digest-only"
[[registry]]
location = "a.example/team/private"
insecure = true
[[registry]]
prefix = "*.corp.example"
location = "proxy.example/corp"
[[registry]]
prefix = "evil.example"
blocked = true
"""


def read(tmp_path: Path, text: str = CONF) -> Registries:
    (tmp_path / "registries.conf").write_text(text)
    return load_registries(str(tmp_path / "registries.conf"))


def places(registries: Registries, name: str) -> list[str]:
    found = registries.endpoints(parse_registry_reference(name))
    return [f"{place.reference}{' insecure' if place.insecure else ''}" for place in found]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.example/app:1", ["m1.example/app:1 insecure", "b.example/cache/app:1"]),
        (
            f"a.example/app@{DIGEST}",
            [
                f"m1.example/app@{DIGEST} insecure",
                f"m2.example/x/app@{DIGEST}",
                f"b.example/cache/app@{DIGEST}",
            ],
        ),
        ("a.example/team/private/x:1", ["a.example/team/private/x:1 insecure"]),
        (
            "a.example/team/privateer:1",
            ["m1.example/team/privateer:1 insecure", "b.example/cache/team/privateer:1"],
        ),
        ("git.corp.example/app:1", ["proxy.example/corp/app:1"]),
        ("corp.example/app:1", ["corp.example/app:1"]),
        ("else.example/app:1", ["else.example/app:1"]),
    ],
)
def test_the_longest_prefix_says_where_to_go(tmp_path: Path, name: str, wanted: list[str]) -> None:
    assert places(read(tmp_path), name) == wanted


def test_a_blocked_registry_is_neither_read_nor_written(tmp_path: Path) -> None:
    registries = read(tmp_path)
    reference = parse_registry_reference("evil.example/app:1")
    for call in (registries.endpoints, registries.is_insecure):
        with pytest.raises(RegistryError, match="blocked"):
            call(reference)
    options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf")
    with pytest.raises(RegistryError, match="blocked"):
        client_of("evil.example", "", options)


def test_short_names(tmp_path: Path) -> None:
    registries = read(tmp_path)
    assert [str(name) for name in registries.candidates("box:2")] == ["quay.example/team/box:2"]
    assert [str(name) for name in registries.candidates("app")] == [
        "one.example/app:latest",
        "docker.io/library/app:latest",
    ]
    assert [str(name) for name in registries.candidates("a.example/app")] == ["a.example/app:latest"]
    assert [str(name) for name in registries.candidates("docker.io/app")] == ["docker.io/library/app:latest"]
    strict = read(tmp_path, CONF.replace("permissive", "enforcing"))
    with pytest.raises(UsageError, match="several"):
        strict.candidates("app")
    assert [str(name) for name in Registries().candidates("app")] == ["docker.io/library/app:latest"]


def test_drop_ins_win_entry_by_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "containers/registries.conf.d"
    folder.mkdir(parents=True)
    (tmp_path / "containers/registries.conf").write_text(CONF)
    (folder / "10.conf").write_text('[aliases]\n"box" = ""\n"mine" = "z.example/mine"\n')
    (folder / "20.conf").write_text('[[registry]]\nprefix = "a.example"\nlocation = "c.example"\n')
    (folder / "30.txt").write_text("not read")
    registries = load_registries()
    assert places(registries, "a.example/app:1") == ["c.example/app:1"]
    assert dict(registries.aliases)["mine"] == "z.example/mine"
    assert "box" not in dict(registries.aliases)


@pytest.mark.parametrize(
    "text",
    ["[registries.search]\n", "not toml", "[[registry]]\nblocked = true\n", 'short-name-mode = "odd"\n',
     '[[registry]]\nprefix = "a"\n[[registry.mirror]]\ninsecure = true\n'],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RegistryError) as caught:
        read(tmp_path, text)
    assert caught.value.where.endswith("registries.conf")


def test_certificates_of_a_hosts_file_are_for_that_host(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oci_image.registry.client.is_loopback", lambda _host: False)
    with FaultyRegistry(b"layer").secure(serving(certificates, ask_client=True)) as registry:
        folder = tmp_path / "r.example"
        folder.mkdir()
        shutil.copy(certificates / "ca.crt", folder / "ca.pem")
        text = f'server = "https://{registry.address}"\nca = "ca.pem"\n'
        pair = f'client = [["{certificates}/client.cert", "{certificates}/client.key"]]\n'
        options = RegistryOptions(hosts_dir=str(tmp_path), first_wait=0.001)
        (folder / "hosts.toml").write_text(text + pair)
        assert pull("r.example/app:1", store=str(tmp_path / "store"), registry=options).result is not None
        for wrong in (text, text.replace("ca.pem", "none.pem") + pair):
            (folder / "hosts.toml").write_text(wrong)
            with pytest.raises(RegistryError):
                pull("r.example/app:1", store=str(tmp_path / "store"), registry=options)


def test_short_names_are_pulled_from_who_has_them(tmp_path: Path) -> None:
    with FaultyRegistry(b"layer") as registry:
        conf = f'unqualified-search-registries = ["127.0.0.1:1", "{registry.address}"]\n'
        conf += f'[aliases]\n"nick" = "{registry.address}/app"\n'
        read(tmp_path, conf)
        options = RegistryOptions(registries_conf=f"{tmp_path}/registries.conf", first_wait=0.001)
        store = str(tmp_path / "store")
        assert pull("app:1", store=store, registry=options).name == f"{registry.address}/app:1"
        assert pull("nick:1", store=store, registry=options).name == f"{registry.address}/app:1"
        assert pull("app:1", policy="never", store=store, registry=options).result is None
    with Store.open(store) as opened:
        assert opened.find("app:1") == opened.find(f"{registry.address}/app:1")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and by it one certificate for the loopback address and one for a client."""
    openssl = shutil.which("openssl")
    assert openssl, "the tests need openssl"
    folder = tmp_path_factory.mktemp("certificates")

    def call(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    call("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test", "-days", "2")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for who in ("server", "client"):
        call("req", *new, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
        call("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
             "-out", f"{who}.cert", "-days", "2", "-extfile", "names")  # fmt: skip
    return folder


def serving(certificates: Path, *, ask_client: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.cert", certificates / "server.key")
    if ask_client:
        context.load_verify_locations(certificates / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_certificates_are_those_of_the_host(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    # Loopback is not verified; here it is to be.
    monkeypatch.setattr("oci_image.registry.client.is_loopback", lambda _host: False)
    with FaultyRegistry(b"layer", token=1).secure(serving(certificates, ask_client=True)) as registry:
        folder = tmp_path / "containers/certs.d" / registry.address
        folder.mkdir(parents=True)
        options = RegistryOptions(credentials=Credentials("me", "secret"), first_wait=0.001)
        name, store = f"{registry.address}/app:1", str(tmp_path / "store")
        assert certificate_directory(registry.address) == str(folder)
        with pytest.raises(RegistryError, match="certificate"):
            pull(name, store=store, registry=options)
        shutil.copy(certificates / "ca.crt", folder)
        with pytest.raises(RegistryError):
            pull(name, store=store, registry=options)  # no certificate of ours
        shutil.copy(certificates / "client.cert", folder)
        with pytest.raises(RegistryError, match="no key"):
            pull(name, store=store, registry=options)
        shutil.copy(certificates / "client.key", folder)
        assert pull(name, store=store, registry=options).name == name
        other = RegistryOptions(credentials=options.credentials, cert_dir=str(folder))
        layout = make_layout(str(tmp_path / "layout"), tar(file(b"x")))
        push(f"oci:{layout}", f"{registry.address}/app:2", registry=other)


def test_a_ca_of_the_caller_and_no_verification_at_all(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oci_image.registry.client.is_loopback", lambda _host: False)
    with FaultyRegistry(b"layer").secure(serving(certificates, ask_client=False)) as registry:
        name, store = f"{registry.address}/app:1", str(tmp_path / "store")
        for options in (
            RegistryOptions(ca_file=str(certificates / "ca.crt")),
            RegistryOptions(insecure=True),
        ):
            assert pull(name, store=store, registry=options).name == name


class Proxy(BaseHTTPRequestHandler):
    """Forwards plain requests and says whom to."""

    seen: list[str]
    target: str

    def do_GET(self) -> None:
        self.seen.append(f"{urlsplit(self.path).hostname} {self.headers.get('Proxy-Authorization', '')}")
        connection = http.client.HTTPConnection(self.target)
        parts = urlsplit(self.path)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("GET", target, headers=dict(self.headers))
        response = connection.getresponse()
        data = response.read()
        self.send_response(response.status)
        for name, value in response.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    def do_CONNECT(self) -> None:
        self.send_error(502)

    def log_message(self, *_: object) -> None:
        pass


def test_a_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyRegistry(b"layer") as registry:
        seen: list[str] = []
        handler = type("Handler", (Proxy,), {"seen": seen, "target": registry.address})
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                address = f"http://me:pass@127.0.0.1:{server.server_address[1]}"
                for name in ("http_proxy", "https_proxy"):
                    monkeypatch.setenv(name, address)
                options = RegistryOptions(insecure=True, first_wait=0.001)
                pull("far.example/app:1", store=str(tmp_path / "store"), registry=options)
            finally:
                server.shutdown()
                thread.join()
        assert {entry.split(" ")[0] for entry in seen} == {"far.example"}
        assert all("Basic bWU6cGFzcw==" in entry for entry in seen)


class Socks(socketserver.BaseRequestHandler):
    """SOCKS 5 with user and password (RFC 1928, RFC 1929); whatever is asked for is the registry."""

    seen: list[str]
    target: str

    def handle(self) -> None:
        stream = self.request.makefile("rwb", 0)
        stream.read(stream.read(2)[1])
        stream.write(b"\x05\x02")
        user, password = (stream.read(stream.read(size)[-1]) for size in (2, 1))
        stream.write(b"\x01\x00")
        kind = stream.read(4)[3]
        name = stream.read(stream.read(1)[0]) if kind == 3 else stream.read(4)
        stream.read(2)
        self.seen.append(f"{kind} {name.decode()} {user.decode()}:{password.decode()}")
        host, _, port = self.target.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            stream.write(b"\x05\x00\x00\x01" + bytes(6))
            while ready := select.select([far, self.request], [], [])[0]:
                for each in ready:
                    data = each.recv(1 << 16)
                    if not data:
                        return
                    (self.request if each is far else far).sendall(data)


def test_a_socks_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = RegistryOptions(insecure=True, first_wait=0.001)
    with FaultyRegistry(b"layer") as registry:
        seen: list[str] = []
        handler = type("Handler", (Socks,), {"seen": seen, "target": registry.address})
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
            server.handle_error = lambda *_: None  # type: ignore[method-assign]  # TLS is tried first
            server.daemon_threads = True  # a connection that is kept lives until its pool is collected
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                monkeypatch.setenv("all_proxy", f"socks5h://me:pass@127.0.0.1:{server.server_address[1]}")
                pull("far.example/app:1", store=str(tmp_path / "store"), registry=options)
            finally:
                server.shutdown()
                thread.join()
    assert set(seen) == {"3 far.example me:pass"}
    monkeypatch.setitem(sys.modules, "urllib3.contrib.socks", None)
    with pytest.raises(RegistryError, match="need PySocks"):
        pull("far.example/app:1", store=str(tmp_path / "store"), registry=options)
    monkeypatch.setenv("all_proxy", "ftp://127.0.0.1:1")
    with pytest.raises(RegistryError, match="'ftp' are not supported"):
        pull("far.example/app:1", store=str(tmp_path / "store"), registry=options)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://far.example/v2/", "http://proxy.example:3128"),
        ("http://far.example/v2/", ""),
        ("https://127.0.0.1:5000/v2/", ""),
        ("https://host.near.example/v2/", ""),
        ("https://10.1.2.3/v2/", ""),
        ("https://11.1.2.3/v2/", "http://proxy.example:3128"),
    ],
)
def test_who_is_reached_without_a_proxy(url: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", "near.example,10.0.0.0/8")
    assert proxy_for(url) == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t?x=1,2",service="s",scope="repository:a:pull,push"',
            [("bearer", {"realm": "https://a/t?x=1,2", "service": "s", "scope": "repository:a:pull,push"})],
        ),
        (
            'Basic realm="Basic, Bearer realm=x", Bearer realm="https://a", service=s',
            [
                ("basic", {"realm": "Basic, Bearer realm=x"}),
                ("bearer", {"realm": "https://a", "service": "s"}),
            ],
        ),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
    ],
)
def test_challenges(header: str, wanted: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(header) == wanted
