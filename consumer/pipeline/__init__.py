"""The loops. They see ports and domain only."""
