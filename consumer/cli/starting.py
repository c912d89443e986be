"""What comes before any command. This file imports next to nothing: help does not wait for what it does not need."""

import io
import os
import ssl
import sys


class Interrupted(Exception):
    """Ctrl-C, before the command was done."""


def trust_as_the_system_does() -> None:
    """Lets `sslrootcert=system` mean the authorities of this machine, unless the environment names others.

    The libpq of psycopg's wheels has an OpenSSL of its own, which looks for them in a folder that no machine has.
    """
    if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
        known = ssl.get_default_verify_paths()
        if known.cafile:
            os.environ["SSL_CERT_FILE"] = known.cafile
        if known.capath:
            os.environ["SSL_CERT_DIR"] = known.capath


def open_standard_streams() -> None:
    """Opens on /dev/null what the caller has closed: a socket with one of these numbers would be written to.

    What the encoding of a stream lacks is written as an escape, instead of ending the command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of Latin-1 has no Greek, and no "…" either
