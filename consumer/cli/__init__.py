"""Commands, signals, exit codes; nothing else.

This file imports next to nothing: Ctrl-C before `main` runs shows a traceback.
"""

import os
import signal


def main() -> None:
    """Entry point. The commands are imported in here, so that Ctrl-C meanwhile ends with a line, not a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not so in a background job
        signal.signal(signal.SIGINT, _stop_at_once)
    from consumer.cli import app  # noqa: PLC0415 - see above

    app.main()


def interrupt_by_exception() -> None:
    """Called when a command begins: from now on Ctrl-C raises KeyboardInterrupt, as there may be things to clean up."""
    if signal.getsignal(signal.SIGINT) is _stop_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _stop_at_once(*_: object) -> None:
    """Ends the process, which has nothing to clean up yet; a module being imported might swallow an exception."""
    try:
        os.write(2, b"stopped\n")
    finally:
        os._exit(130)
