"""Tests of schemas/: the SQL itself, called as applications and the service call it."""
