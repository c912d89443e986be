"""The TLS of connections to the brokers."""

import ssl
from pathlib import Path

from consumer.adapters.kafka.options import SETTING, KafkaConnection
from consumer.domain.errors import Misconfigured

KEY = b"PRIVATE KEY-----"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def tls_context(connection: KafkaConnection) -> ssl.SSLContext | None:
    """None without TLS.

    Raises:
        Misconfigured: a certificate or key cannot be read or used; the message names its file.
    """
    if connection.security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    cafile, certfile = connection.ssl_cafile, connection.ssl_certfile
    if cafile is not None:
        _read(cafile, "the certificate", f"{SETTING}SSL_CAFILE")
    try:
        context = ssl.create_default_context(cafile=cafile)
    except ssl.SSLError:
        raise Misconfigured(f"kafka: {cafile} ({SETTING}SSL_CAFILE) holds no certificate in PEM form") from None
    if certfile is not None:
        _prove_ourselves(context, connection, certfile)
    return context


def _prove_ourselves(context: ssl.SSLContext, connection: KafkaConnection, certfile: Path) -> None:
    """Loads our own certificate and its key. OpenSSL would ask a terminal for a password that it needs, and wait."""
    keyfile = connection.ssl_keyfile or certfile
    if CERTIFICATE not in _read(certfile, "the certificate", f"{SETTING}SSL_CERTFILE"):
        raise Misconfigured(f"kafka: {certfile} ({SETTING}SSL_CERTFILE) holds no certificate in PEM form")
    of_key = f"{SETTING}SSL_KEYFILE" if connection.ssl_keyfile is not None else f"{SETTING}SSL_CERTFILE"
    if KEY not in _read(keyfile, "the key", of_key):
        hint = "" if connection.ssl_keyfile is not None else f"; if it is in another file, set {SETTING}SSL_KEYFILE"
        raise Misconfigured(f"kafka: {keyfile} ({of_key}) holds no private key in PEM form{hint}")
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return connection.ssl_key_password or ""

    try:
        context.load_cert_chain(certfile, keyfile, password=password)
    except ValueError as error:  # longer than OpenSSL takes
        raise Misconfigured(f"kafka: the password of the key {keyfile} cannot be used: {error}") from None
    except ssl.SSLError as error:
        if asked and connection.ssl_key_password is None:
            said = f"has a password: set {SETTING}SSL_KEY_PASSWORD or …_FILE"
        elif asked:
            said = f"has another password than {SETTING}SSL_KEY_PASSWORD(_FILE) says"
        elif error.reason == "KEY_VALUES_MISMATCH":
            said = f"does not belong to the certificate {certfile}"
        else:
            said = f"cannot be used with the certificate {certfile}: {error.reason or 'damaged'}"
        raise Misconfigured(f"kafka: the key {keyfile} {said}") from None


def _read(file: Path, what: str, setting: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Misconfigured(f"kafka: cannot read {what} {file} ({setting}): {error.strerror or error}") from error
