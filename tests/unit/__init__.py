"""Parts that need neither a database nor a clock."""
