"""What every answer of the pages has in common."""

from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer: browsers would hide the origin of our own forms as well, by which we know them.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def with_headers(answer: web.StreamResponse) -> web.StreamResponse:
    """The answer with those of every answer, unless it is on its way already."""
    if not answer.prepared:
        answer.headers.update(HEADERS)
    return answer


def wants_page(request: web.Request) -> bool:
    """Whether a person asks, by a browser; scripts are told in words what has gone wrong."""
    return "text/html" in request.headers.get("Accept", "")


def see(place: str) -> web.Response:
    """Sends a browser to a place beside the one that it has asked for."""
    return web.Response(status=303, headers={"Location": place})


async def form(request: web.Request) -> MultiMapping[Any]:
    """The fields of a form.

    Raises:
        web.HTTPBadRequest: it is none, whatever it says.
    """
    try:
        return await request.post()
    except (ValueError, LookupError):
        raise web.HTTPBadRequest(text="this is no form\n") from None
