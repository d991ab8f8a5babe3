"""Statistics, splits and samplers, by the properties that make them what they are."""

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymenoptera.data.folders import Sample, stratified_split
from hymenoptera.data.order import EpochSampler
from hymenoptera.data.splits import Apart, fold_numbers
from hymenoptera.data.splits import test_set as choose_test_set
from hymenoptera.results.paired_tests import range_p, sign_flip_test
from hymenoptera.results.statistics import wilson_interval

COUNTS = st.lists(st.integers(5, 30), min_size=2, max_size=5)  # of each class
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def named(counts: list[int]) -> tuple[list[str], list[int], list[str]]:
    names = [f"train/{label}/{n}.jpg" for label, count in enumerate(counts) for n in range(count)]
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return names, labels, [str(label) for label in range(len(counts))]


@EXAMPLES
@given(COUNTS, st.integers(2, 5), st.integers(0, 2**31), st.randoms())
def test_folds_partition_and_are_stratified_within_one(counts, folds, seed, random) -> None:
    """And are the same whatever the order in which a machine lists the files."""
    names, labels, classes = named(counts)
    numbers = fold_numbers(names, labels, classes, Apart(folds=folds, seed=seed))
    assert set(numbers) == set(names)
    assert set(numbers.values()) == set(range(folds))
    sizes = Counter(numbers.values())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    for label in range(len(counts)):
        of_class = Counter(numbers[n] for n, own in zip(names, labels, strict=True) if own == label)
        per_fold = [of_class[fold] for fold in range(folds)]
        assert max(per_fold) - min(per_fold) <= 1
    order = list(zip(names, labels, strict=True))
    random.shuffle(order)
    again = fold_numbers(*zip(*order, strict=True), classes, Apart(folds=folds, seed=seed))
    assert again == numbers


@EXAMPLES
@given(COUNTS, st.floats(0.2, 0.8), st.integers(0, 2**31))
def test_a_test_set_takes_its_share_of_each_class(counts, share, seed) -> None:
    names, labels, classes = named(counts)
    chosen = choose_test_set(names, labels, classes, Apart(test_fraction=share, seed=seed))
    assert chosen <= set(names)
    taken = Counter(label for n, label in zip(names, labels, strict=True) if n in chosen)
    assert [taken[label] for label in range(len(counts))] == [round(c * share) for c in counts]


@EXAMPLES
@given(COUNTS, st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_a_validation_part_has_each_class_and_leaves_each(counts, share, seed) -> None:
    names, labels, _ = named(counts)
    samples = [Sample(Path(n), label) for n, label in zip(names, labels, strict=True)]
    train, val = stratified_split(samples, share, seed)
    assert sorted(train + val, key=str) == sorted(samples, key=str)
    assert {s.label for s in train} == {s.label for s in val} == set(range(len(counts)))
    assert stratified_split(samples, share, seed) == (train, val)


def test_a_split_is_the_same_on_every_machine() -> None:
    """Written down here once: another Python, another platform must give the same."""
    names, labels, classes = named([5, 5])
    numbers = fold_numbers(names, labels, classes, Apart(folds=5, seed=3))
    assert "".join(str(numbers[name]) for name in names) == "2341002341"
    chosen = choose_test_set(names, labels, classes, Apart(test_fraction=0.2, seed=3))
    assert chosen == {"train/0/2.jpg", "train/1/4.jpg"}


@EXAMPLES
@given(st.integers(1, 60), st.integers(0, 2**31), st.integers(0, 50), st.none() | st.integers(1, 4))
def test_an_epoch_has_each_picture_once(count, seed, epoch, views) -> None:
    draws = list(EpochSampler(count, seed, shuffle=True, views=views, epoch=epoch))
    assert sorted(draw.sample for draw in draws) == list(range(count))
    assert draws == list(EpochSampler(count, seed, shuffle=True, views=views, epoch=epoch))
    assert {draw.view for draw in draws} == {epoch if views is None else epoch % views}


@EXAMPLES
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_and_mirrors(right_and_count) -> None:
    right, count = right_and_count
    low, high = wilson_interval(right, count)
    assert 0 <= low <= right / count + 1e-12
    assert right / count <= high + 1e-12 <= 1 + 1e-12
    mirrored = wilson_interval(count - right, count)
    assert np.allclose([1 - high, 1 - low], mirrored)
    assert np.diff(wilson_interval(4 * right, 4 * count))[0] <= high - low


@EXAMPLES
@given(st.floats(0, 40), st.floats(1, 500), st.integers(2, 30))
def test_correction_never_lowers_a_p_and_keeps_their_order(distance, freedom, rows) -> None:
    alone, among = range_p(distance, freedom, 2), range_p(distance, freedom, rows)
    assert 0 <= alone <= among + 1e-9 <= 1 + 1e-9
    assert among <= alone * rows * (rows - 1) / 2 + 1e-9  # the union of all pairs
    assert range_p(distance + 0.5, freedom, rows) <= among + 1e-9
    assert range_p(distance, freedom + 5, 2) <= alone + 1e-9


@EXAMPLES
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_a_paired_test_does_not_care_which_is_first(differences) -> None:
    p = sign_flip_test(np.array(differences))
    assert 0 < p <= 1
    assert p == sign_flip_test(-np.array(differences))
    assert p == sign_flip_test(np.array([*differences, 0]))
    if sum(differences) == 0:
        assert p == 1
