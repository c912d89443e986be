"""Callers who want more than they may."""
