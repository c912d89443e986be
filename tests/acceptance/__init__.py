"""Whole processes, from outside."""
