"""Tests of webhook-router."""
