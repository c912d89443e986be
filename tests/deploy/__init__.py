"""Tests of what lies in deploy/ and of the pages in docs/ that tell how to use it."""
