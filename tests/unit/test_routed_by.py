"""By which path an event was routed, in words."""

from consumer.domain.routing import CALL, Path, routed_by


def test_each_path_has_words_of_its_own() -> None:
    """One that a later release has written is told as it is."""
    said = {routed_by(path) for path in (*Path, CALL)}
    assert len(said) == len(Path) + 1
    assert all(words.startswith(("by the ", "by a ")) for words in said)
    assert routed_by("relay") == "by relay"
