"""Worked cases of HTTP: the requests as they are written there, the answers, and the rows that must result."""

import json
from typing import Any

import psycopg
import pytest

from tests.gateway.bodies import signed
from tests.gateway.conftest import Start, until_processed
from tests.intake.cases import Case, cases, named
from tests.intake.rows import Inbox

CASES = [case for case in cases(http=True) if not any("when" in request for request in case.content["requests"])]
"""Those whose database is there all the time: see test_faults for the other one."""


def environment(setup: dict[str, Any]) -> dict[str, str]:
    """The configuration that a case asks for."""
    found: dict[str, str] = {}
    for provider, known in setup.items():
        name = f"WEBHOOK_ROUTER_{provider.upper()}"
        if bots := known.get("bots"):
            found[f"{name}_BOTS"] = ",".join(f"{bot}:{secret}" for bot, secret in bots.items())
        if secrets := known.get("secrets"):
            found[f"{name}_APP_SECRETS"] = ",".join(secrets)
        if token := known.get("verify_token"):
            found[f"{name}_VERIFY_TOKEN"] = token
    return found


def sent(request: dict[str, Any], setup: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Body and headers; those of a body that is built are signed here."""
    if "template" not in request:
        return request["raw"].encode(), request["headers"]
    parts = (request["template"].replace("{n}", str(number + 1)) for number in range(request["count"]))
    body = (request["prefix"] + ",".join(parts) + request["suffix"]).encode()
    json.loads(body)
    return body, request["headers"] | signed(body, secret=setup["whatsapp"]["secrets"][0])


@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_answers_and_rows(case: Case, database: str, start: Start, db: psycopg.Connection[Any]) -> None:
    """Each request gets the answer that the case names, and those that got 200 make the rows, no others do."""
    setup = {name: told for name, told in case.setup.items() if isinstance(told, dict)}
    service = start(database, env=environment(setup))
    statuses = []
    for request in case.content["requests"]:
        body, headers = sent(request, setup)
        statuses.append(service.ask(request["path"], body=body, headers=headers, method=request["method"]).status)
    assert statuses == case.expect["statuses"]
    until_processed(db, statuses.count(200))
    assert Inbox(db).differences(case.expect) == []
