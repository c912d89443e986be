"""What routing costs, told without a clock: round trips, log, pages."""
