"""A secret that stands in a file, as Kubernetes and systemd hand it to a process."""

from pathlib import Path

from consumer.domain.errors import Misconfigured


def read_secret(file: Path, *, what: str) -> str:
    """The text of the file without the line feed at its end.

    Raises:
        Misconfigured: it cannot be read; `what` says what it should hold.
    """
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Misconfigured(f"cannot read {what} from {file}: {reason}") from None
