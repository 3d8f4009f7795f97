"""Certificates that nobody vouches for, made by openssl: without it a test is skipped on a laptop and fails in CI."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

from tests.servers.postgres import must_skip


def self_signed(folder: Path, names: str = "IP:127.0.0.1") -> Path:
    """Make a certificate for these names; return the file of it and its key. Beside it, as `.crt`, it stands alone."""
    if shutil.which("openssl") is None:
        must_skip("needs openssl to make a certificate")
    file = folder / "both.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    made += ["-addext", f"subjectAltName={names}", "-keyout", str(file), "-out", f"{file}.crt"]
    subprocess.run(made, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


def served_with(certificate: Path) -> ssl.SSLContext:
    """Return a server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
