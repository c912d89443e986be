"""Instagram: direct messages, comments, and what happens to them."""

from typing import Any

from consumer.domain.providers import meta
from consumer.domain.providers.atoms import Atoms, Context


def atoms(body: Any, context: Context) -> Atoms:  # noqa: ANN401 - any JSON value
    return meta.atoms_of(body, context, "instagram")
