"""The order of an epoch is determined by its seed and number alone, and shared out once."""

import pytest

from hymenoptera.data.order import Batches, Draw, EpochSampler


def test_an_epoch_has_every_sample_once_in_an_order_of_its_own() -> None:
    sampler = EpochSampler(50, seed=0, shuffle=True)
    first = list(sampler)
    assert sorted(draw.sample for draw in first) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert [d.sample for d in second] != [d.sample for d in first]
    assert not {d.seed for d in second} & {d.seed for d in first}
    assert list(EpochSampler(50, seed=0, shuffle=True, epoch=1)) == second
    assert list(EpochSampler(50, seed=1, shuffle=True)) != first


def test_without_shuffling_the_order_stays() -> None:
    assert [d.sample for d in EpochSampler(5, seed=0, shuffle=False)] == [0, 1, 2, 3, 4]


def test_epochs_take_turns_with_the_views_of_a_sample() -> None:
    """A view's augmentation stays the same, whatever the order; the order never repeats."""
    epochs = [list(EpochSampler(9, 0, shuffle=True, views=2, epoch=e)) for e in range(4)]
    for epoch, draws in enumerate(epochs):
        assert {draw.view for draw in draws} == {epoch % 2}
    assert set(epochs[0]) == set(epochs[2])
    assert epochs[0] != epochs[2]
    assert not {d.seed for d in epochs[0]} & {d.seed for d in epochs[1]}
    in_order = list(EpochSampler(9, 0, shuffle=False, views=2, epoch=1))
    assert set(in_order) == set(epochs[1])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [4, 23, 24])
def test_processes_share_an_epoch_without_a_sample_twice(world_size: int, count: int) -> None:
    def shares(train: bool) -> list[list[list[int]]]:
        sampler = EpochSampler(count, seed=0, shuffle=train, epoch=3)
        parts = [
            Batches(sampler, 4, train=train, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        found = [[[d.sample for d in batch] for batch in part] for part in parts]
        assert [len(part) for part in parts] == [len(batches) for batches in found]
        return found

    order = [draw.sample for draw in EpochSampler(count, seed=0, shuffle=True, epoch=3)]
    taken = count - count % world_size
    steps = list(zip(*shares(train=True), strict=True))  # as many in each process
    for position, step in enumerate(steps):
        together = order[:taken][position * 4 * world_size :][: 4 * world_size]
        # those that one process with as large a batch would take
        assert sorted(sample for batch in step for sample in batch) == sorted(together)
        assert len({len(batch) for batch in step}) == 1
    assert sum(len(batch) for step in steps for batch in step) == taken

    whole = [list(range(count))[start : start + 4] for start in range(0, count, 4)]
    dealt = list(zip(*shares(train=False), strict=True))
    assert [batch for row in dealt for batch in row if batch] == whole


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_taken_up_in_its_middle_has_the_rest_of_it(world_size: int) -> None:
    def batches(**skipped: int) -> list[list[list[Draw]]]:
        parts = (
            Batches(
                EpochSampler(50, seed=0, shuffle=True, epoch=3, **skipped),
                4,
                train=True,
                rank=rank,
                world_size=world_size,
            )
            for rank in range(world_size)
        )
        return [list(part) for part in parts]

    whole, rest = batches(), batches(skip=2 * 4 * world_size)
    assert rest == [part[2:] for part in whole]
    assert all(rest)
