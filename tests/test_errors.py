"""What an error suggests."""

from hymenoptera.errors import MOST_LISTED, RequestError, RunError, nearest


def test_close_words_are_suggested() -> None:
    assert nearest("resnet19", ["resnet18", "vit"]) == "Did you mean resnet18?"


def test_a_short_list_is_given_where_nothing_is_close() -> None:
    assert nearest("xyz", ["cpu", "auto"]) == "Valid: auto, cpu."


def test_a_long_list_is_not() -> None:
    assert nearest("xyz", [f"option{i}" for i in range(MOST_LISTED + 1)]) == ""
    assert nearest("xyz", []) == ""


def test_exit_statuses() -> None:
    assert (RequestError.exit_status, RunError.exit_status) == (2, 1)
