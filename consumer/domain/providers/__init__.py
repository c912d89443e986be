"""What each provider sends: from the decoded body of a webhook to atoms. Pure, and it never raises on any JSON value."""
