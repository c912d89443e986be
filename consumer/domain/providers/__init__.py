"""What each provider sends: from the decoded body of a webhook to atoms. Pure, and no JSON value makes it raise."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, TypeAlias

from consumer.domain.providers.atoms import Atoms, Context

Normaliser: TypeAlias = Callable[[Any, Context], Atoms]

PROVIDERS: Final = ("whatsapp", "instagram", "messenger", "telegram", "tiktok")
"""By the names that routes, options and headers know them by."""

BOT: Final = re.compile(r"[0-9]{1,20}")
"""The id of a bot of Telegram, of which its bodies say nothing."""


def normaliser_of(provider: str) -> Normaliser:
    """The function that reads bodies of that provider. Raises KeyError for one that is not in PROVIDERS."""
    if provider not in PROVIDERS:
        raise KeyError(provider)
    normaliser: Normaliser = import_module(f"{__name__}.{provider}").atoms
    return normaliser
