"""What is frozen does not change, what is trained does, and the groups say at which rate."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from hymenoptera.errors import RequestError
from hymenoptera.models.backbone import build_backbone
from hymenoptera.models.classifier import Classifier
from hymenoptera.models.module import ClassifierModule
from hymenoptera.models.schedulers import one_cycle
from hymenoptera.models.stages import find_stages
from hymenoptera.models.transfer import Transfer
from hymenoptera.rules import BACKBONES


def classifier(name: str = "resnet18") -> Classifier:
    torch.manual_seed(0)
    return Classifier(build_backbone(name, "none"), ["ash", "birch", "cedar"])


def fit(classifier: Classifier, transfer: Transfer, epochs: int = 1, size_px: int = 32) -> None:
    """Train on noise, with everything that would move what is not frozen."""
    data = TensorDataset(torch.randn(4, 3, size_px, size_px), torch.tensor([0, 1, 2, 0]))
    loader = DataLoader(data, batch_size=2)
    module = ClassifierModule(
        classifier,
        transfer,
        make_optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.1),
        make_scheduler=partial(one_cycle, warmup_fraction=0.3),
        seed=0,
        facts={},
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, loader)


def changed(classifier: Classifier, before: dict[str, torch.Tensor]) -> set[str]:
    """Names in the state dict of all that is not bit for bit what it was."""
    return {k for k, v in classifier.state_dict().items() if not torch.equal(v, before[k])}


def names(classifier: Classifier, stages: slice) -> set[str]:
    """Names of the parameters and buffers of some stages."""
    wanted = {
        id(tensor)
        for stage in find_stages(classifier.backbone)[stages]
        for tensor in [*stage.parameters, *(b for m in stage.modules for b in m.buffers())]
    }
    tensors = [*classifier.named_parameters(), *classifier.named_buffers()]
    return {name for name, tensor in tensors if id(tensor) in wanted}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("trained", [0, 1])
def test_frozen_is_frozen(name: str, trained: int) -> None:
    """Parameters and batch-norm statistics, with weight decay and validation in between."""
    model = classifier(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fit(model, Transfer([1] * trained), size_px=224 if name == "vit_b_16" else 32)
    stages = len(find_stages(model.backbone))
    after = changed(model, before)
    assert after & names(model, slice(0, stages - trained)) == set()
    assert {"head.weight", "head.bias"} <= after
    if trained:
        top = names(model, slice(stages - 1, None))
        assert len(after & top) > 0.9 * len(top)


@pytest.mark.filterwarnings("ignore")
def test_stages_begin_in_their_epochs() -> None:
    for epochs, untouched in ((1, slice(0, 4)), (2, slice(0, 3)), (3, slice(0, 2))):
        model = classifier()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        fit(model, Transfer([2, 3]), epochs)
        assert changed(model, before) & names(model, slice(0, 4)) == names(
            model, slice(0, 4)
        ) - names(model, untouched)


def test_groups_hold_each_trained_parameter_once() -> None:
    model = classifier()
    groups = Transfer([1, 3, 3]).parameter_groups(model)
    assert [(g["part"], g["first_epoch"]) for g in groups[::2]] == [
        ("stage4-head", 1),
        ("stage2-stage3", 3),
    ]
    assert len({g["name"] for g in groups}) == len(groups)  # LearningRateMonitor asks for that
    held = [id(p) for group in groups for p in group["params"]]
    frozen = {id(p) for p in find_stages(model.backbone)[0].parameters}
    assert sorted(held) == sorted({id(p) for p in model.parameters()} - frozen)
    places = {id(p): place for place, p in enumerate(model.parameters())}
    for group in groups:  # FSDP writes and reads them in the model's order
        own = [places[id(p)] for p in group["params"]]
        assert own == sorted(own)


def test_norms_and_biases_have_no_weight_decay() -> None:
    model = classifier()
    without = {
        id(p)
        for group in Transfer(1).parameter_groups(model)
        if group.get("weight_decay") == 0
        for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        assert (id(parameter) in without) == (parameter.ndim == 1), name


def test_the_rate_decays_from_stage_to_stage() -> None:
    scales = {g["part"]: g["lr_scale"] for g in Transfer(1, 0.5).parameter_groups(classifier())}
    assert scales == {"head": 1, "stage4": 0.5, "stage3": 0.25, "stage2": 0.125, "stage1": 0.0625}


def test_more_epochs_than_stages_are_refused() -> None:
    with pytest.raises(RequestError, match="resnet18 has 4 stages"):
        Transfer([1, 2, 3, 4, 5]).parts(classifier())
