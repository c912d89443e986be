"""Bringing a database to this version: the SQL files of `schemas/`, applied in order."""
