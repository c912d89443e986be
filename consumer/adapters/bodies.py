"""Bodies of deliveries, read: from the bytes that a provider has POSTed to what they say."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from consumer.domain import masking
from consumer.domain.providers import Normaliser, normaliser_of, shapes
from consumer.domain.providers.atoms import Atoms, Context, Recorded
from consumer.domain.providers.lines import Call, Delivery, call_of, written_of

UNKNOWN = Atoms(recorded=(Recorded(kind="unknown"),))
LARGEST_SHAPE: Final = 4 << 20
"""Bytes of a body that is read only to be shown."""


class BodyReader:
    """Reads bodies of all providers."""

    def __init__(self, own_app_ids: frozenset[str]) -> None:
        self._own_app_ids = own_app_ids
        self._normalisers: dict[str, Normaliser] = {}

    def read(self, provider: str, account: str | None, body: bytes) -> Delivery:
        """The delivery with what it says; if reading it fails, it has an error instead, and is only to be stored."""
        context = Context(bot=account, own_app_ids=self._own_app_ids)
        try:
            normaliser = self._normalisers.get(provider)
            if normaliser is None:
                normaliser = self._normalisers[provider] = normaliser_of(provider)
            atoms = normaliser(decoded(body), context)
        except ValueError:
            atoms = UNKNOWN  # a provider that is told so sends it for days
        except Exception as error:  # noqa: BLE001 - a normaliser never raises; if one does, the delivery is not lost
            return Delivery(
                provider=provider, account=account, body=body, atoms=None, error=f"cannot be read: {_where(error)}"
            )
        return Delivery(provider=provider, account=account, body=body, atoms=atoms)

    def prepare(self, provider: str, account: str | None, body: bytes) -> Delivery:
        """As `read`, and written for a call as well."""
        delivery = self.read(provider, account, body)
        return replace(delivery, written=written_of(delivery, orjson.dumps))


def decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON value.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return shapes.loads(body)  # takes halves of surrogate pairs, and numbers that are none


def call(deliveries: Sequence[Delivery]) -> Call:
    """The arguments of router.take_deliveries."""
    return call_of(deliveries, orjson.dumps)


def unpacked(body: bytes, *, is_compressed: bool) -> bytes:
    """A body as it came, from the form in which it is stored.

    Raises:
        ValueError: it is not whole.
    """
    try:
        return zlib.decompress(body) if is_compressed else body
    except zlib.error as error:
        raise ValueError("the stored body is not whole") from error


def shape_of(body: bytes, *, is_compressed: bool) -> str:
    """What anybody on call may see of a stored body: how it is built, without what people wrote in it."""
    raw = body
    if is_compressed:
        unpacking = zlib.decompressobj()
        try:
            raw = unpacking.decompress(body, LARGEST_SHAPE + 1)
        except zlib.error:
            return "the stored body is not whole"
    if len(raw) > LARGEST_SHAPE:
        return f"too large to be shown: more than {LARGEST_SHAPE:,} bytes"
    try:
        value = decoded(raw)
    except ValueError:
        return masking.without_json(raw)
    return orjson.dumps(masking.masked(value), option=orjson.OPT_INDENT_2).decode()


def _where(error: Exception) -> str:
    """What kind of error it is, and in which line: its words may quote the body."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
