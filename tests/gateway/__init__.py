"""Tests of deliveries over HTTP."""
