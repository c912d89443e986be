"""Where the operator's page says what to do about a line of the log."""

from typing import Final

PAGE: Final = "https://github.com/webhook-router/webhook-router/blob/main/docs/operating.md"
SECTIONS: Final = {
    "a batch took too long": "webhookrouternoprogress",
    "a page has failed": "the-pages",
    "a record can be neither read nor set aside": "webhookrouterkafkapartitionstuck",
    "a record was given up": "webhookrouterkafkapartitionstuck",
    "a topic was made anew": "webhookrouterkafkarecordsexpired",
    "an event took too long all alone": "webhookrouterparkedgrowing",
    "cannot go on": "webhookrouterloopfailing",
    "challenges are answered and deliveries refused": "webhookroutersignaturefailures",
    "deliveries are stored and not in effect": "webhookrouterdeliveriesnotineffect",
    "deliveries of a provider are turned away": "webhookrouterdeliveriesturnedaway",
    "deliveries that are too large": "webhookrouterdeliveriesturnedaway",
    "deliveries were turned away": "webhookrouterdeliveriesturnedaway",
    "deliveries whose signature is wrong": "webhookroutersignaturefailures",
    "events are held": "webhookroutereventsheld",
    "events parked": "webhookrouterparkedgrowing",
    "listener lost": "webhookrouterlistenerdown",
    "more records were set aside": "webhookrouterkafkadeadletters",
    "not understood": "webhookrouterunknownatoms",
    "notifications do not get through": "webhookrouterlistenerdown",
    "polling: the doorbell does not ring": "webhookrouterdoorbellsilent",
    "record set aside": "webhookrouterkafkadeadletters",
    "records wait behind a transaction": "webhookrouterkafkarecordswithheld",
    "requests that are no deliveries": "webhookroutersignaturefailures",
    "the Kafka brokers do not answer": "webhookrouterkafkabrokerssilent",
    "the Kafka consumer is given up": "webhookrouterkafkabrokerssilent",
    "the application keeps events": "retention",
    "the broker has deleted records": "webhookrouterkafkarecordsexpired",
    "the database has gone back": "webhookrouterkafkareadagain",
    "the gateway takes no deliveries": "webhookrouterprovidersilent",
    "waiting for topics": "webhookrouterkafkatopicsmissing",
    "wrong tokens were given for the pages": "the-pages",
}
"""Beginning of a line → section of the page."""
SELF_EXPLANATORY: Final = frozenset(
    {
        "offsets are not committed yet, the next commit includes them",
        "the same in other partitions",
    }
)
"""Lines about which nothing is to be done, or that follow another one."""


def runbook_of(event: str) -> str:
    """The address of the section about a line; empty if it has none."""
    return next((f"{PAGE}#{section}" for begin, section in SECTIONS.items() if event.startswith(begin)), "")
