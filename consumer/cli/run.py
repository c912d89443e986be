"""run: the service."""

import os

from consumer.adapters.telemetry import log as logs
from consumer.cli.options import FLAGS, with_settings
from consumer.cli.runtime import on_signals, run_async
from consumer.config import Settings
from consumer.service import build, logged


@with_settings(*FLAGS)
def run(settings: Settings) -> None:
    """Route events as they arrive, until told to stop.

    SIGTERM or Ctrl-C stops it once the batch under way is finished, a second one at once. Each option can be set in the
    environment as well: --batch-size is WEBHOOK_ROUTER_BATCH_SIZE. Passwords and
    secrets have no option, but their files do.
    """
    serve(settings)


def serve(settings: Settings) -> None:
    """Runs the service, with its log on standard error, until a signal stops it."""
    logs.configure(format=settings.log_format, level=settings.log_level, everything=True)

    async def serving() -> None:
        service = build(settings, log=logged(settings), environment=os.environ)
        with on_signals(service.stop):
            await service.run()

    run_async(serving())
