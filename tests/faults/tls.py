"""TLS in front of a broker, as an operator puts it there: ends it, and passes the bytes on."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME = "127.1"


@contextmanager
def tls_in_front_of(address: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """``HOST:PORT`` that speaks TLS for the server at ``address``, and the certificate.

    The host is this machine by a name that is not known to be its own.
    """
    certificate, key = _certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(
            target=_accept, args=(server, context, (host, int(port))), daemon=True
        )
        accepting.start()
        yield f"{NAME}:{server.getsockname()[1]}", certificate
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()


def _accept(server: socket.socket, context: ssl.SSLContext, address: tuple[str, int]) -> None:
    with suppress(OSError):  # it was shut down
        while True:
            plain, _ = server.accept()
            with suppress(OSError):
                outer = context.wrap_socket(plain, server_side=True)
                inner = socket.create_connection(address)
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "tls.pem", folder / "tls.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, private
