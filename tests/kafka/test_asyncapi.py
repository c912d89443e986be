"""schemas/events/asyncapi.yaml is an AsyncAPI 3 document, and what it says is what the code does."""

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource

from consumer import config
from consumer.adapters.event_schema import event_schema
from consumer.adapters.kafka.decoding import codec
from consumer.adapters.kafka.writer import as_message
from consumer.domain.forms import interpret
from consumer.domain.lag import Partition
from consumer.domain.records import DeadLetter, Flaw, Flawed, Record, Skip
from consumer.domain.webhook import Body, Intake
from tests.deploy.tools import ROOT, load_yaml, schema

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    """The document as it is in the repository."""
    (found,) = load_yaml(ROOT / "schemas" / "events" / "asyncapi.yaml")
    assert isinstance(found, dict)
    return found


def resolved(document: Document, pointer: str) -> Any:
    """What a reference within the document points at."""
    place: Any = document
    for name in pointer.removeprefix("#/").split("/"):
        place = place[name]
    return place


def validator(document: Document, pointer: str) -> Draft202012Validator:
    """For the schema at a place of the document, whose references lead to the document and to the file beside it."""
    files = [("asyncapi.yaml", document), ("webhook_event.v1.schema.json", event_schema().schema)]
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(content | {"$schema": Draft202012Validator.META_SCHEMA["$id"]}))
        for name, content in files
    )
    return Draft202012Validator({"$ref": f"asyncapi.yaml{pointer}"}, registry=registry)


def test_it_is_an_asyncapi_3_document(document: Document) -> None:
    """By the schema that AsyncAPI publishes, which refuses unknown and misplaced keys."""
    official = Draft7Validator(schema("3.0.0.json", "asyncapi"))
    assert [error.message for error in official.iter_errors(document)] == []
    assert list(official.iter_errors(document | {"topics": {}})), "or else it would accept anything"


def test_its_references_lead_somewhere(document: Document) -> None:
    """To the document itself, or to the event schema."""

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for each in node for found in references(each)]
        if not isinstance(node, dict):
            return []
        return [node["$ref"]] if "$ref" in node else references(list(node.values()))

    found = references(document)
    assert found
    for reference in found:
        assert reference == "webhook_event.v1.schema.json" or resolved(document, reference)


def test_topics_and_group_are_the_defaults(document: Document) -> None:
    """A service with no settings does what the document says."""
    settings = config.Settings.model_fields
    channels = document["channels"]
    assert channels["events"]["address"] == settings["kafka_topics"].default
    assert channels["deadLetters"]["address"] == settings["kafka_dead_letter_topic"].default
    group = document["operations"]["routeEvents"]["bindings"]["kafka"]["groupId"]
    assert group["const"] == settings["kafka_group_id"].default


def test_every_example_is_taken(document: Document) -> None:
    """It fits its own schema, and the service makes of it what it is."""
    named = document["channels"]["events"]["messages"]
    kinds: dict[str, Any] = dict.fromkeys(
        ("event", "reference", "change", "flattened", "cloudEvent", "binaryCloudEvent"), Intake
    )
    kinds |= {"body": Body, "heartbeat": Skip, "transaction": Skip}
    assert named.keys() == kinds.keys()
    for name, reference in named.items():
        message = resolved(document, reference["$ref"])
        for example in message["examples"]:
            place = f"{reference['$ref']}/payload"
            assert [error.message for error in validator(document, place).iter_errors(example["payload"])] == [], name
            given = example.get("headers", {})
            if given:
                place = f"{reference['$ref']}/headers"
                assert [error.message for error in validator(document, place).iter_errors(given)] == [], name
            headers = [(key, text.encode()) for key, text in given.items()]
            value = json.dumps(example["payload"]).encode()
            meaning, _ = interpret(value, headers, codec(), largest=len(value))
            assert isinstance(meaning, kinds[name]), (name, meaning)
            if isinstance(meaning, Intake):
                assert meaning.otherwise is None


def test_the_headers_of_dead_letters_are_those_that_are_written(document: Document) -> None:
    """All of them, with every kind of error that there is."""
    headers = resolved(document, "#/components/messages/deadLetter/headers")
    assert set(headers["properties"]["webhook-router-error"]["enum"]) == set(Flaw)
    flawed = Flawed(flaw=Flaw.REFUSED, reason="check constraint", code="23514")
    record = Record(
        partition=Partition("events", 3), offset=7, timestamp=1.5, key=b"k", value=b"v", headers=(), meaning=flawed,
        trace=None,
    )  # fmt: skip
    written = {
        name: (text or b"").decode() for name, text in as_message(DeadLetter(record=record, flawed=flawed)).headers
    }
    assert written.keys() == headers["properties"].keys()
    assert set(headers["required"]) == written.keys() - {"webhook-router-error-code"}
    place = "#/components/messages/deadLetter/headers"
    assert [error.message for error in validator(document, place).iter_errors(written)] == []
