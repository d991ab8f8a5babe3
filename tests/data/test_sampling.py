"""The order of an epoch follows from its seed and number alone, and is dealt out once."""

from typing import Any

import pytest

from hymenoptera.data.sampling import EpochBatches, EpochKeys, SampleKey


def indices(batches: EpochBatches) -> list[list[int]]:
    return [[key.index for key in batch] for batch in batches]


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    first, second = (list(EpochKeys(50, 0, epoch, shuffle=True)) for epoch in (0, 1))
    assert sorted(key.index for key in first) == list(range(50))
    assert [key.index for key in first] != [key.index for key in second]
    assert not {key.seed for key in first} & {key.seed for key in second}
    assert list(EpochKeys(50, 1, shuffle=True)) != first
    assert [key.index for key in EpochKeys(5)] == [0, 1, 2, 3, 4]


def test_these_very_numbers() -> None:
    """What a seed means never changes: old runs could not be repeated."""
    assert list(EpochKeys(4, 3, 2, shuffle=True)) == [
        SampleKey(0, 2, 3167567286238784488),
        SampleKey(2, 2, 4493540056303793047),
        SampleKey(3, 2, 2076909331137808946),
        SampleKey(1, 2, 3797864124745331166),
    ]


def test_epochs_take_turns_with_the_views_of_a_sample() -> None:
    """A view's augmentation stays the same, whatever the order; the order never repeats."""
    epochs = [list(EpochKeys(9, 0, epoch, shuffle=True, views=2)) for epoch in range(4)]
    for epoch, keys in enumerate(epochs):
        assert {key.view for key in keys} == {epoch % 2}
    assert set(epochs[0]) == set(epochs[2])
    assert epochs[0] != epochs[2]
    assert not {key.seed for key in epochs[0]} & {key.seed for key in epochs[1]}
    assert set(EpochKeys(9, 0, 1, views=2)) == set(epochs[1])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [4, 23, 24])
def test_an_epoch_is_dealt_out_without_a_sample_twice(world_size: int, count: int) -> None:
    def dealt(train: bool) -> list[tuple[list[int], ...]]:
        """The batches of all processes, step by step."""
        options: dict[str, Any] = {"train": train, "world_size": world_size, "first_epoch": 3}
        parts = [EpochBatches(count, 4, rank=rank, **options) for rank in range(world_size)]
        batches = [indices(part) for part in parts]
        assert [len(part) for part in parts] == [len(of_rank) for of_rank in batches]
        return list(zip(*batches, strict=True))

    order = [key.index for key in EpochKeys(count, 0, 3, shuffle=True)]
    taken = order[: count - count % world_size]
    for number, step in enumerate(dealt(train=True)):
        # those that one process with as large a batch would take
        whole = taken[number * 4 * world_size :][: 4 * world_size]
        assert sorted(index for batch in step for index in batch) == sorted(whole)
        assert len({len(batch) for batch in step}) == 1
    evaluated = [batch for step in dealt(train=False) for batch in step if batch]
    assert evaluated == [list(range(count))[start : start + 4] for start in range(0, count, 4)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_resumed_epoch_has_the_rest_of_its_batches(world_size: int) -> None:
    options: dict[str, Any] = {"train": True, "world_size": world_size, "first_epoch": 3}
    for rank in range(world_size):
        whole, rest = (EpochBatches(50, 4, rank=rank, first_batch=n, **options) for n in (0, 2))
        assert indices(rest) == indices(whole)[2:]
        assert len(rest) == len(whole)  # Lightning counts from the epoch's start
        rest.set_epoch(4)
        whole.set_epoch(4)
        assert indices(rest) == indices(whole)
