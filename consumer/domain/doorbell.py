"""What keeps the doorbell from ringing, as `router.doorbell()` names it."""

from collections.abc import Mapping
from typing import Final

RINGS: Final = "rings"
OFF: Final = "off"
MEANING: Final[Mapping[str, str]] = {
    RINGS: "inserts ring it",
    OFF: "installed without it; `webhook-router migrate --doorbell` installs it",
    "missing": "its trigger on webhook_events is missing; `webhook-router migrate` makes it again",
    "disabled": "its trigger is disabled; `alter table public.webhook_events enable trigger webhook_router_doorbell`",
    "silenced": "another program holds its advisory lock, see docs/reference/locks.md",
    "replicated": "rows that a subscription writes into webhook_events do not ring it",
    "full": "the server's queue of notifications is half full; does a session sit in a transaction after LISTEN?",
}


def meaning(state: str) -> str:
    """What an operator has to know of a state; of one that this version does not know, its name."""
    return MEANING.get(state, state)
