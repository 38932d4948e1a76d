"""Certificates of the sandbox's own making, for clients that insist on https.

The authority is new at every start; its key never leaves the
process.
"""

from __future__ import annotations

import functools
import shutil
import ssl
import tempfile
from pathlib import Path

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "*.sandbox.localhost")


class CertificateAuthority:
    """Issues certificates for this machine's names and the services'.

    Attributes:
        ca_file: the certificate of the authority (PEM), which
            clients have to trust

    Raises:
        ValueError: the extra `tls` is not installed
    """

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError:
            raise ValueError("TLS needs trustme: pip install 'jupyter_mjci[tls]'") from None
        self._ca = trustme.CA()
        self._folder = Path(tempfile.mkdtemp(prefix="mjci-ca-"))
        self.ca_file = self._folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    @functools.cached_property
    def local_context(self) -> ssl.SSLContext:
        """The context of connections to this machine's names."""
        return self._build_context(*LOCAL_NAMES)

    def build_context(self, name: str) -> ssl.SSLContext:
        """Build the context of a tunnel to a service's name."""
        return self._build_context(name)

    def _build_context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def close(self) -> None:
        """Delete the file of the authority."""
        shutil.rmtree(self._folder, ignore_errors=True)
