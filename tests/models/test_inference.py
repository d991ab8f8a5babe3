"""The copy of a backbone that is only read: the same numbers, faster, and no part of the model."""

import pytest
import torch
from torch import nn

from hymenoptera.models import classifier as module
from hymenoptera.models.inference import InferenceNetwork


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.norm(self.conv(images)).mean(dim=(2, 3))
        return found if found.sum() > 0 else -found


def test_a_network_that_cannot_be_traced_runs_as_it_is() -> None:
    network, images = Branching().eval(), torch.randn(2, 3, 8, 8)
    copied = InferenceNetwork(network)
    with torch.no_grad():
        torch.testing.assert_close(copied(images), network(images))
    nn.init.zeros_(network.conv.weight)  # the copy is one
    with torch.no_grad():
        assert not torch.allclose(copied(images), network(images))


def test_bf16_is_near(classifier) -> None:
    """Within a percent or so, in float32, and not the same."""
    model = classifier("mobilenet_v3_small").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        exact, found = model.backbone(images), InferenceNetwork(model.backbone, bf16=True)(images)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_a_frozen_backbone_runs_in_bf16_where_the_cpu_has_it(
    has_bf16: bool, classifier, trainer, noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: has_bf16)
    head = classifier("mobilenet_v3_small", unfreeze_epochs=[], frozen_bf16="auto")
    names = set(head.state_dict())
    made = trainer(max_epochs=1)
    made.fit(head, datamodule=noise(4))
    assert head.hparams["frozen_bf16"] is has_bf16
    assert head.for_inference().bf16 is has_bf16
    assert set(head.state_dict()) == names
    whole = classifier("mobilenet_v3_small", frozen_bf16="auto")
    trainer(max_epochs=1).fit(whole, datamodule=noise(4))
    assert whole.hparams["frozen_bf16"] is False  # it is trained


@pytest.mark.filterwarnings("ignore")
def test_the_copy_follows_what_is_loaded(classifier, trainer, noise, tmp_path) -> None:
    """Each validation reads the weights of its checkpoint."""
    first, data = classifier(unfreeze_epochs=[]), noise(4)
    made = trainer(max_epochs=1)
    made.fit(first, datamodule=data)
    made.save_checkpoint(tmp_path / "first.ckpt")
    (before,) = made.validate(first, datamodule=data)
    nn.init.normal_(first.backbone.conv1.weight)
    (other,) = made.validate(first, datamodule=data)
    (again,) = made.validate(first, datamodule=data, ckpt_path=tmp_path / "first.ckpt")
    assert other["val/loss"] != before["val/loss"] == again["val/loss"]
