"""URLs of tenants: what they must not reach never sees a connection, whatever the name says.

127.0.0.2 stands for the internet (it is allowed here), 127.0.0.1 and ::1 for an internal network.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from celeriac.catalog.data_sources import DataSource, DataSourceType
from celeriac.configuration import Configuration
from celeriac.configuration.security import Security
from celeriac.data_sources import open_link
from celeriac.errors import ConfigurationError, ForbiddenAddress, SourceUnavailable
from celeriac.public_network import may_reach
from celeriac.web_documents import fetch

INTERNET = "127.0.0.2"
INTERNAL = "127.0.0.1"
ALLOWED = (ipaddress.ip_network(f"{INTERNET}/32"),)
NAME = "rebinding.example"


@dataclass
class Internal:
    """A listener on IPv4 and IPv6 that counts who connects."""

    port: int
    connections: list[Any] = field(default_factory=list)


@pytest.fixture
def internal() -> Iterator[Internal]:
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server((INTERNAL, 0)))
        port = four.getsockname()[1]
        listeners = [four]
        with contextlib.suppress(OSError):  # a machine without IPv6, or with the port taken
            six = socket.create_server(("::1", port), family=socket.AF_INET6)
            listeners.append(stack.enter_context(six))
        found = Internal(port)
        yield found
        for listener in listeners:
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                found.connections.append(listener.accept()[1])
        assert found.connections == []


@dataclass
class Web:
    """A server on the internet: its pages, and whom it was asked as."""

    port: int = 0
    redirects: dict[str, str] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    hosts: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keeps connections where the client does

        def do_GET(self) -> None:
            web.hosts.append(self.headers["Host"])
            path = self.path.partition("?")[0]
            target = web.redirects.get(path)
            body = b"" if target else web.answers.get(path, b"a public page")
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer((INTERNET, 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    web.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield web
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as web:
        yield web


class Names:
    """Names whose addresses change with every question; the last ones stay."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []
        self._resolve = socket.getaddrinfo

    def resolve(self, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self.answers:
            return self._resolve(host, port, *rest, **more)
        self.asked.append(name)
        answers = self.answers[name]
        now = answers.pop(0) if len(answers) > 1 else answers[0]
        return [one for text in now for one in self._resolve(text, port, *rest, **more)]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What every name is resolved through, by celeriac and by the libraries below it."""
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.resolve)
    return names


def read(url: str) -> bytes:
    return fetch(url, ALLOWED, max_bytes=1_000_000).content


def test_the_connection_goes_to_the_address_that_was_checked(
    names: Names, web: Web, internal: Internal
) -> None:
    names.answers[NAME] = [[INTERNET], [INTERNAL]]
    assert read(f"http://{NAME}:{web.port}/") == b"a public page"
    assert names.asked == [NAME]
    assert web.hosts == [f"{NAME}:{web.port}"]


def test_a_name_that_has_changed_is_refused_the_next_time(
    names: Names, web: Web, internal: Internal
) -> None:
    names.answers[NAME] = [[INTERNET], [INTERNAL]]
    read(f"http://{NAME}:{web.port}/")
    with pytest.raises(ForbiddenAddress, match=rf"'{NAME}'.*security\.allowed_networks"):
        read(f"http://{NAME}:{internal.port}/")


@pytest.mark.parametrize("order", [[INTERNET, INTERNAL], [INTERNAL, INTERNET], [INTERNET, "::1"]])
def test_one_internal_address_among_several_is_enough(
    order: list[str], names: Names, web: Web, internal: Internal
) -> None:
    names.answers[NAME] = [order]
    with pytest.raises(ForbiddenAddress):
        read(f"http://{NAME}:{internal.port}/")


def test_each_redirect_is_checked_anew(names: Names, web: Web, internal: Internal) -> None:
    """To the same name too: it may have changed since."""
    names.answers[NAME] = [[INTERNET], [INTERNET], [INTERNAL]]
    web.redirects = {"/": "/again", "/again": f"http://{NAME}:{internal.port}/"}
    with pytest.raises(ForbiddenAddress):
        read(f"http://{NAME}:{web.port}/")
    assert len(names.asked) == 3


INTERNAL_FORMS = [
    *("127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "0.0.0.0"),
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "localhost."),
    *("①②⑦.⓪.⓪.①", "127。0。0。1"),
]


@pytest.mark.parametrize("host", INTERNAL_FORMS)
def test_no_spelling_of_an_internal_address_is_connected(
    host: str, web: Web, internal: Internal
) -> None:
    web.redirects["/"] = f"http://{host}:{internal.port}/"
    for url in (f"http://{host}:{internal.port}/", f"http://{INTERNET}:{web.port}/"):
        with pytest.raises((ForbiddenAddress, SourceUnavailable, ConfigurationError)):
            read(url)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/", "//127.0.0.1/"]
)
def test_only_http_is_spoken(url: str, web: Web) -> None:
    web.redirects["/"] = url
    with pytest.raises(ConfigurationError, match="must begin with http"):
        read(url)
    if not url.startswith("//"):  # beside http://, that is a URL
        with pytest.raises(ConfigurationError, match="must begin with http"):
            read(f"http://{INTERNET}:{web.port}/")


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "192.0.0.192"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "fe80::1", "fd00::1"),
        *("fec0::1", "ff02::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"),
        *("64:ff9b:1::808:808", "2001:0:a00:1::"),
    ],
)
def test_an_address_that_not_everybody_may_reach_is_not_reached(address: str) -> None:
    assert not may_reach(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_a_public_address_is_reached(address: str) -> None:
    assert may_reach(ipaddress.ip_address(address))


def test_a_data_source_of_a_tenant_is_held_to_the_same(
    names: Names, web: Web, internal: Internal
) -> None:
    names.answers[NAME] = [[INTERNET], [INTERNAL]]
    web.answers["/items"] = b'[{"id": "1", "text": "one"}]'
    url = f"http://{NAME}:{web.port}/items"
    made = DataSource("s", "acme", "S", "", DataSourceType.REST, url, {}, {}, 0, 0)
    security = Security(allowed_networks=ALLOWED)
    link = open_link(made, Configuration({}, {}, None, security=security))
    assert [one.id for one in link.source.page(None).entities] == ["1"]
    with pytest.raises(ForbiddenAddress):
        link.source.page(None)
    link.source.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for `good.example`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("good.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.fixture
def secure_web(certificate: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server under TLS, its certificate trusted; two names lead to it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    names.answers = {"good.example": [[INTERNET]], "other.example": [[INTERNET]]}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as web:
        yield web


def test_a_certificate_is_checked_for_the_name_and_not_for_the_address(secure_web: Web) -> None:
    assert read(f"https://good.example:{secure_web.port}/") == b"a public page"
    for host in ("other.example", INTERNET):
        with pytest.raises(SourceUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            read(f"https://{host}:{secure_web.port}/")


def test_a_connection_to_one_name_does_not_serve_another_at_the_same_address(
    secure_web: Web,
) -> None:
    secure_web.redirects["/"] = f"https://other.example:{secure_web.port}/secret"
    with pytest.raises(SourceUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        read(f"https://good.example:{secure_web.port}/")
    assert secure_web.hosts == [f"good.example:{secure_web.port}"]
