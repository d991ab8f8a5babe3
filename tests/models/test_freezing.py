"""What is frozen does not change, what is trained does, and the groups say at which rate."""

from functools import partial

import pytest
import torch
from pytorch_lightning.callbacks import BackboneFinetuning, StochasticWeightAveraging

from hymenoptera.errors import ConfigError
from hymenoptera.models.schedulers import one_cycle
from hymenoptera.models.stages import find_stages

ADAMW = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1)


def copied(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def changed(model, before: dict[str, torch.Tensor]) -> set[str]:
    """Names in the state dict of all that is not bit for bit what it was."""
    return {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}


def names(model, stages: slice) -> set[str]:
    """Names of the parameters and buffers of some stages."""
    chosen = find_stages(model.backbone, 32)[stages]
    parameters = {f"backbone.{name}" for stage in chosen for name in stage.parameters}
    buffers = {
        f"backbone.{layer}.{name}".replace("..", ".")
        for stage in chosen
        for layer in stage.modules
        for name, _ in model.backbone.get_submodule(layer).named_buffers()
    }
    return parameters | buffers


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "trained"),
    [("resnet18", 1), ("mobilenet_v3_small", 1), ("efficientnet_b0", 0)],
)
def test_frozen_is_frozen(name: str, trained: int, classifier, trainer, noise) -> None:
    """Parameters and batch-norm statistics, with weight decay and validation in between."""
    model = classifier(name, unfreeze_epochs=[1] * trained, optimizer=ADAMW, scheduler=one_cycle)
    assert model.trains_head_only == (trained == 0)
    before = copied(model)
    trainer(max_epochs=1).fit(model, datamodule=noise(2, val_count=1))
    stages = len(find_stages(model.backbone, 32))
    after = changed(model, before)
    assert after & names(model, slice(0, stages - trained)) == set()
    assert {"head.weight", "head.bias"} <= after
    if trained:
        top = names(model, slice(stages - 1, None))
        assert len(after & top) > 0.9 * len(top)


@pytest.mark.filterwarnings("ignore")
def test_stages_begin_in_their_epochs(classifier, trainer, noise) -> None:
    for epochs, untouched in ((1, slice(0, 4)), (2, slice(0, 3)), (3, slice(0, 2))):
        model = classifier(unfreeze_epochs=[2, 3], optimizer=ADAMW)
        before = copied(model)
        trainer(max_epochs=epochs, limit_val_batches=1).fit(model, datamodule=noise(4))
        backbone = names(model, slice(0, 4))
        assert changed(model, before) & backbone == backbone - names(model, untouched)


@pytest.mark.filterwarnings("ignore")
def test_callbacks_that_move_what_is_frozen_are_rejected(classifier, trainer, noise) -> None:
    """Fault 14: StochasticWeightAveraging resets the statistics of frozen batch norms."""
    averaging = StochasticWeightAveraging(1e-3)
    with pytest.raises(ConfigError, match="StochasticWeightAveraging changes what"):
        trainer(max_epochs=2, callbacks=[averaging]).fit(
            classifier("mobilenet_v3_small", unfreeze_epochs=[1]), datamodule=noise(4)
        )
    with pytest.raises(ConfigError, match=r"BackboneFinetuning changes .*unfreeze_epochs"):
        trainer(max_epochs=2, callbacks=[BackboneFinetuning(1)]).fit(
            classifier(), datamodule=noise(4)
        )
    averaging = StochasticWeightAveraging(1e-3, swa_epoch_start=1)
    run = trainer(max_epochs=2, callbacks=[averaging], limit_val_batches=0)
    run.fit(classifier("mobilenet_v3_small"), datamodule=noise(4))


def test_groups_hold_each_trained_parameter_once(classifier) -> None:
    model = classifier(unfreeze_epochs=[1, 3, 3])
    groups = model.configure_optimizers().param_groups
    assert [(g["part"], g["first_epoch"]) for g in groups[::2]] == [
        ("stage4-head", 1),
        ("stage2-stage3", 3),
    ]
    assert len({g["name"] for g in groups}) == len(groups)  # LearningRateMonitor asks for that
    held = [id(p) for group in groups for p in group["params"]]
    frozen = {
        id(model.backbone.get_parameter(n)) for n in find_stages(model.backbone, 32)[0].parameters
    }
    assert sorted(held) == sorted({id(p) for p in model.parameters()} - frozen)


def test_norms_and_biases_have_no_weight_decay(classifier) -> None:
    model = classifier(optimizer=ADAMW)
    without = {
        id(p)
        for group in model.configure_optimizers().param_groups
        if group["weight_decay"] == 0
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        assert (id(parameter) in without) == (parameter.ndim == 1), name


def test_the_learning_rate_decays_from_stage_to_stage(classifier) -> None:
    groups = classifier(lr_decay=0.5, optimizer=ADAMW).configure_optimizers().param_groups
    assert {g["part"]: g["lr"] for g in groups} == {
        "head": 0.1,
        "stage4": 0.05,
        "stage3": 0.025,
        "stage2": 0.0125,
        "stage1": 0.00625,
    }


def test_more_epochs_than_stages_are_rejected(classifier) -> None:
    with pytest.raises(ConfigError, match="this backbone has 4 stages"):
        classifier(unfreeze_epochs=[1, 2, 3, 4, 5])
