"""Real bodies, where WEBHOOK_ROUTER_TEST_BODIES names a folder of them: <provider>/<name>.json, a POST each.

They are from the test data of public projects: pywa, chatwoot and bottender.
"""

from pathlib import Path

import pytest

from consumer.domain.providers import normaliser_of
from consumer.domain.providers.atoms import Context
from consumer.domain.providers.shapes import loads
from tests.unit.providers.mutation import BODIES

# <- and -> are messages in and out, with their type; then changes; in brackets what is only recorded.
SAID = {
    "whatsapp": {
        "chatwoot-bsuid_follow_up": "<- message text",
        "chatwoot-bsuid_only": "<- message text",
        "chatwoot-document_accented_filename_no_id": "<- message file",
        "chatwoot-media_with_errors_no_id": "<- message image",
        "chatwoot-phone_plus_bsuid": "<- message text",
        "chatwoot-reaction_first_event_no_target": "(reaction)",
        "chatwoot-referral_ctwa": "<- message text",
        "chatwoot-reply_context_unknown_original": "<- message text",
        "chatwoot-request_welcome_no_id_no_contacts": "(request_welcome)",
        "chatwoot-smb_echo_bsuid": "-> echo text",
        "pywa-account_update-account_violation": "(account_update)",
        "pywa-call_connect-user_initiated": "(calls)",
        "pywa-call_permission_update-reject": "(call_permission_reply)",
        "pywa-call_terminate-call_terminate": "(calls)",
        "pywa-callback_button-quick_reply": "<- message text",
        "pywa-callback_selection-callback": "<- message text",
        "pywa-deleted_message-revoke": "delete",
        "pywa-flow_completion-completion": "<- message text",
        "pywa-message-animated_sticker": "<- message image",
        "pywa-message-chosen_location": "<- message text",
        "pywa-message-current_location": "<- message text",
        "pywa-message-forwarded": "<- message text",
        "pywa-message-image": "<- message image",
        "pywa-message-media_with_url": "<- message image",
        "pywa-message-reaction": "reaction",
        "pywa-message-reply": "<- message text",
        "pywa-message-text": "<- message text",
        "pywa-message-unreaction_no_emoji": "reaction",
        "pywa-message-unsupported_with_type": "<- message event",
        "pywa-message-voice": "<- message audio",
        "pywa-message_status-failed": "status",
        "pywa-message_status-played": "status",
        "pywa-message_status-sent": "status",
        "pywa-outgoing_message-delete": "delete",
        "pywa-outgoing_message-text": "-> echo text",
        "pywa-system-phone_number_change": "system",
        "pywa-template_status_update-approved": "(message_template_status_update)",
        "pywa-user_marketing_preferences-signup": "(user_preferences)",
    },
    "instagram": {
        "chatwoot-ig_post_event": "<- message event",
        "chatwoot-ig_story_event": "<- message event",
        "chatwoot-message_attachment_event": "<- message event",
        "chatwoot-message_create_event": "<- message text",
        "chatwoot-message_reply_event": "<- message text",
        "chatwoot-message_standby_event": "<- message text",
        "chatwoot-message_unsend_event": "delete",
        "chatwoot-message_unsupported_event": "<- message event",
        "chatwoot-messaging_seen_event": "read",
        "chatwoot-shared_reel_event": "<- message video",
        "chatwoot-story_mention_event": "<- message event",
        "chatwoot-story_mention_event_with_echo": "-> echo event",
        "chatwoot-story_reply_event": "<- message text",
        "chatwoot-test_event": "<- message text",
        "chatwoot-test_text_event": "<- message text",
    },
    "messenger": {
        "bottender-account_linking_linked": "(account_linking)",
        "bottender-app_roles": "(handover)",
        "bottender-audio_message": "<- message audio",
        "bottender-delivery": "delivery",
        "bottender-echo_message": "-> echo_of_app text",
        "bottender-envelope_batch_request": "<- message text, <- message text",
        "bottender-envelope_echo_request": "-> echo_of_app text",
        "bottender-envelope_request": "<- message text",
        "bottender-file_message": "<- message file",
        "bottender-image_message": "<- message image",
        "bottender-like_sticker_message": "<- message image",
        "bottender-link_referral": "referral",
        "bottender-location_message": "<- message event",
        "bottender-optin": "(optin)",
        "bottender-pass_thread_control": "handover",
        "bottender-policy_enforcement": "(policy_enforcement)",
        "bottender-postback": "<- postback text",
        "bottender-postback_referral": "<- postback text",
        "bottender-quick_reply_message": "<- message text",
        "bottender-reaction_react": "reaction",
        "bottender-reaction_unreact": "reaction",
        "bottender-read": "read_until",
        "bottender-request_thread_control": "(handover)",
        "bottender-take_thread_control": "(handover)",
        "bottender-text_message": "<- message text",
        "bottender-video_message": "<- message video",
        "chatwoot-incoming_fb_text_message": "<- message text",
        "chatwoot-message_deliveries": "delivered_until",
        "chatwoot-message_reads": "read_until",
    },
    "telegram": {
        "bottender-callback_query": "<- callback text",
        "bottender-channel_post": "(channel_post)",
        "bottender-chosen_inline_result": "(chosen_inline_result)",
        "bottender-edited_channel_post": "(edited_channel_post)",
        "bottender-edited_message": "edit",
        "bottender-group_callback_query": "(group)",
        "bottender-group_edited_message": "(group)",
        "bottender-group_message": "(group)",
        "bottender-inline_query": "(inline_query)",
        "bottender-poll": "(poll)",
        "bottender-pre_checkout_query": "(pre_checkout_query)",
        "bottender-reply_to_text_message": "<- message text",
        "chatwoot-audio": "<- message audio",
        "chatwoot-business_message_in": "<- message text",
        "chatwoot-business_message_out": "-> echo text",
        "chatwoot-callback_query": "<- callback text",
        "chatwoot-caption_only": "<- message text",
        "chatwoot-contact_no_name": "<- message text",
        "chatwoot-document": "<- message file",
        "chatwoot-edited_business_message": "edit",
        "chatwoot-edited_caption": "edit",
        "chatwoot-edited_message": "edit",
        "chatwoot-group_positive_chat_id": "(group)",
        "chatwoot-photo": "<- message image",
        "chatwoot-sticker": "<- message image",
        "chatwoot-text": "<- message text",
        "chatwoot-venue": "<- message text",
        "chatwoot-voice": "<- message audio",
    },
}


def said(provider: str, path: Path) -> str:
    """What a body says, in few words."""
    atoms = normaliser_of(provider)(loads(path.read_bytes()), Context(bot="7"))
    return ", ".join(
        (
            *(f"{'->' if it.outbound else '<-'} {it.kind} {it.message_type}" for it in atoms.messages),
            *(effect.kind for effect in atoms.effects),
            *(f"({recorded.kind})" for recorded in atoms.recorded),
        )
    )


@pytest.mark.skipif(BODIES is None, reason="WEBHOOK_ROUTER_TEST_BODIES names no folder")
@pytest.mark.parametrize("provider", SAID)
def test_real_bodies_say_what_they_are(provider: str) -> None:
    """Each one; a message where there is one, and none where there is none."""
    found = {path.stem: said(provider, path) for path in sorted(Path(BODIES or "").glob(f"{provider}/*.json"))}
    assert found == SAID[provider]
