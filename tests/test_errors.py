"""What an error suggests."""

import pytest
from torch.utils.data import DataLoader, Dataset

from hymenoptera.errors import MOST_LISTED, RequestError, RunError, in_one_line, nearest


def test_close_words_are_suggested() -> None:
    assert nearest("resnet19", ["resnet18", "vit"]) == "Did you mean resnet18?"


def test_a_short_list_is_given_where_nothing_is_close() -> None:
    assert nearest("xyz", ["cpu", "auto"]) == "Valid: auto, cpu."


def test_a_long_list_is_not() -> None:
    assert nearest("xyz", [f"option{i}" for i in range(MOST_LISTED + 1)]) == ""
    assert nearest("xyz", []) == ""


def test_exit_statuses() -> None:
    assert (RequestError.exit_status, RunError.exit_status) == (2, 1)


class Failing(Dataset[int]):
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> int:
        raise self._error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(5, "Input/output error", "ant.jpg"),
            "OSError: [Errno 5] Input/output error: 'ant.jpg'",
        ),
        (RequestError("ant.jpg: not a picture."), "ant.jpg: not a picture."),
    ],
)
def test_what_fails_in_a_process_that_reads_pictures_is_said_in_a_line(
    error: Exception, said: str
) -> None:
    with pytest.raises(type(error), match="Original Traceback") as raised:
        list(DataLoader(Failing(error), num_workers=1))
    assert in_one_line(raised.value) == said


def test_what_fails_is_said_in_a_line() -> None:
    assert in_one_line(OSError(28, "No space left on device")) == "No space left on device"
    assert in_one_line(PermissionError(13, "Permission denied", "a b")) == "a b: Permission denied"
    assert in_one_line(RequestError("No such folder.")) == "No such folder."
    assert in_one_line(ValueError("one\ntwo")) == "ValueError: one"
    assert in_one_line(ValueError()) == "ValueError: no reason given"
