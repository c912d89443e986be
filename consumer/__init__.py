"""webhook-router: turns provider webhooks into inbox rows, exactly once."""
