"""What an error suggests."""

import pytest
from torch.utils.data import DataLoader, Dataset

from hymenoptera.errors import MOST_LISTED, RequestError, RunError, nearest, of_disk


def test_close_words_are_suggested() -> None:
    assert nearest("resnet19", ["resnet18", "vit"]) == "Did you mean resnet18?"


def test_a_short_list_is_given_where_nothing_is_close() -> None:
    assert nearest("xyz", ["cpu", "auto"]) == "Valid: auto, cpu."


def test_a_long_list_is_not() -> None:
    assert nearest("xyz", [f"option{i}" for i in range(MOST_LISTED + 1)]) == ""
    assert nearest("xyz", []) == ""


def test_exit_statuses() -> None:
    assert (RequestError.exit_status, RunError.exit_status) == (2, 1)


class Unreadable(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> int:
        raise OSError(5, "Input/output error", "ant.jpg")


def test_a_disk_that_fails_is_said_in_a_line() -> None:
    assert of_disk(OSError(28, "No space left on device")) == "No space left on device"
    assert of_disk(PermissionError(13, "Permission denied", "a b")) == "a b: Permission denied"
    with pytest.raises(OSError, match="Original Traceback") as raised:
        list(DataLoader(Unreadable(), num_workers=1))
    assert of_disk(raised.value) == "OSError: [Errno 5] Input/output error: 'ant.jpg'"
