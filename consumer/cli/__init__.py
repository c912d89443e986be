"""Commands, signals, exit codes; nothing else.

This file imports next to nothing: until `main` runs, Ctrl-C ends with a traceback.
"""

import os
import signal


def main() -> None:
    """Entry point. The commands are imported in here, so that Ctrl-C meanwhile ends with a line, not a traceback."""
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in a background job
    if interruptible:
        signal.signal(signal.SIGINT, _stop_at_once)
    from consumer.cli import app  # noqa: PLC0415 - see above

    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app.main()


def _stop_at_once(*_: object) -> None:
    """Ends the process while there is nothing to put in order; an exception would get lost in somebody's import."""
    try:
        os.write(2, b"stopped\n")
    finally:
        os._exit(130)
