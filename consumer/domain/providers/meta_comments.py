"""Changes of Instagram accounts and of pages: comments, and what is only recorded."""

from collections.abc import Mapping
from typing import Any, Final

from consumer.domain.providers.atoms import Effect, Identity, Message
from consumer.domain.providers.gathered import key_of
from consumer.domain.providers.meta_entry import Entry
from consumer.domain.providers.shapes import attachment, hash_of, id_of, object_of, ord_of_edit, text_of, time_of

_FIELDS: Final = frozenset(
    {
        *(
            "feed",
            "mention",
            "mentions",
            "story_insights",
            "conversations",
            "ratings",
            "leadgen",
            "live_videos",
            "videos",
        ),
        *(
            "comments",
            "live_comments",
            "comment_poll_response",
            "creator_marketplace_invited_creator_onboarding",
            "follow",
        ),
        *("messages", "messaging_postbacks", "messaging_seen", "messaging_referral", "messaging_handover", "standby"),
        *("message_reactions", "message_edit", "message_edits", "messaging_optins", "messaging_policy_enforcement"),
        *("messaging_account_linking", "inbox_labels", "messaging_feedback", "story_share", "story_reactions", "about"),
        *(
            "category",
            "description",
            "email",
            "general_info",
            "hours",
            "location",
            "name",
            "phone",
            "picture",
            "website",
        ),
        *(
            "page_about_story",
            "page_upcoming_change",
            "product_review",
            "publisher_subscriptions",
            "group_feed",
            "birthday",
        ),
    }
)
_MEDIA: Final = {"image": "photo", "video": "video"}
"""By type of attachment."""


def instagram_change(field: str, value: object, entry: Entry) -> None:
    """A change of an Instagram account."""
    it = object_of(value)
    if field not in {"comments", "live_comments"}:
        entry.found.record(field if field in _FIELDS else "unknown")
        return
    if not it:
        entry.found.record("unknown")
        return
    post = id_of(object_of(it.get("media")).get("id")) or id_of(it.get("media_id"))
    _comment(field, it, entry, named=it.get("id") or it.get("comment_id"), text=it.get("text"), post=post)


def page_change(field: str, value: object, entry: Entry) -> None:
    """A change of a page."""
    it = object_of(value)
    comment, post = it.get("comment_id"), id_of(it.get("post_id"))
    match field, it.get("item"), it.get("verb"):
        case "feed", "comment", "add" | None:
            _comment(field, it, entry, named=comment, text=it.get("message"), post=post)
        case "feed", "comment", "edit" | "edited":
            _edited(it, entry, id_of(comment))
        case "feed", "comment", "remove" | "delete":
            _removed(it, entry, id_of(comment))
        case "feed", "comment", _:
            entry.found.mention(entry.channel, id_of(comment))
            entry.found.record("comment")
        case "mention", "comment" | "post", "add" | None if text_of(it.get("message")):
            # Somebody names the page elsewhere, and says why.
            _comment(field, it, entry, named=comment or post, text=it.get("message"), post=post)
        case _:
            entry.found.record(field if field in _FIELDS and it else "unknown")


def _comment(field: str, it: Mapping[str, Any], entry: Entry, *, named: object, text: object, post: str | None) -> None:
    comment = id_of(named) or f"hash:{hash_of(entry.id, entry.raw_time, field, it)}"
    author = object_of(it.get("from"))
    author_id = id_of(author.get("id")) or id_of(it.get("sender_id"))
    username = text_of(author.get("username")) or None
    name = text_of(author.get("name")) or text_of(it.get("sender_name")) or username
    ours = author_id is not None and author_id == entry.id
    parent = id_of(it.get("parent_id"))
    written, attachments = text_of(text) or None, _attachments(it)
    known = {"attachments": attachments, "echo": ours}
    entry.found.message(
        Message(
            kind="comment",
            id=comment,
            channel=entry.channel,
            account=entry.id,
            # We are no contact of ours: the other party is whoever wrote what we answer.
            people=(Identity(id=author_id, username=username),) if author_id and not ours else (),
            name=None if ours else name,
            outbound=ours,
            message_type=attachments[0]["type"] if attachments else "text" if written else "event",
            text=written,
            sent_at=_written_at(it) or entry.time,
            comment=True,
            post_id=post,
            reply_to=parent if parent not in {post, comment} else None,
            metadata={key: value for key, value in known.items() if value},
        )
    )


def _edited(it: Mapping[str, Any], entry: Entry, comment: str | None) -> None:
    text, attachments = text_of(it.get("message")) or None, _attachments(it)
    if comment is None or (text is None and not attachments):
        entry.found.mention(entry.channel, comment)
        entry.found.record("comment")
        return
    # With the time: a text may come back, and be gone again.
    edit_id = key_of("edit", comment, hash_of(text, attachments, entry.raw_time))
    entry.found.effect(
        Effect(
            kind="edit",
            id=edit_id,
            channel=entry.channel,
            target=comment,
            account=entry.id,
            person=_author(it, entry),
            at=entry.time,
            ord=ord_of_edit(entry.time, edit_id),
            values={"text": text} | ({"attachments": attachments} if attachments else {}),
        )
    )


def _removed(it: Mapping[str, Any], entry: Entry, comment: str | None) -> None:
    if comment is None:
        entry.found.record("comment")
        return
    if "message" in it:
        entry.found.mention(entry.channel, comment)
    entry.found.effect(
        Effect(
            kind="delete",
            id=key_of("del", comment),
            channel=entry.channel,
            target=comment,
            account=entry.id,
            person=_author(it, entry),
            # created_time is the comment's.
            at=entry.time,
        )
    )


def _author(it: Mapping[str, Any], entry: Entry) -> Identity | None:
    author = id_of(object_of(it.get("from")).get("id")) or id_of(it.get("sender_id"))
    return Identity(id=author) if author is not None and author != entry.id else None


def _attachments(it: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The picture or video of a page's comment."""
    return [attachment(kind, link=link) for kind, key in _MEDIA.items() if (link := text_of(it.get(key)))]


def _written_at(it: Mapping[str, Any]) -> str | None:
    return time_of(it.get("created_time")) or time_of(it.get("timestamp"))
