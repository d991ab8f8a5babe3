"""The classifier: all that inference needs, and nothing that only training does."""

from collections.abc import Sequence

from torch import Tensor, nn

from hymenoptera.models.backbone import Backbone


class Classifier(nn.Module):
    """A backbone and a linear head, with the class names and the preprocessing they expect.

    Attributes:
        backbone: (B, 3, H, W) float32, normalised as the weights expect -> (B, D).
        head: (B, D) -> (B, C) logits.
        backbone_name: torchvision's name of the architecture.
        weights_id: where the first weights came from.
        classes: the C class names, by label.
        preprocessing: from a picture to the backbone's input.
    """

    def __init__(self, backbone: Backbone, classes: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone.features
        self.head = nn.Linear(backbone.feature_count, len(classes))
        self.backbone_name = backbone.name
        self.weights_id = backbone.weights_id
        self.classes = list(classes)
        self.preprocessing = backbone.preprocessing
        weight = backbone.head_weights.get("weight")
        # a head of the same size is taken over, one of another size gives way to the new one
        self.head_is_new = weight is None or weight.shape != self.head.weight.shape
        if not self.head_is_new:
            self.head.load_state_dict(backbone.head_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each class.

        Args:
            images: (B, 3, H, W) float32, normalised as `preprocessing` says.

        Returns:
            (B, C) logits, by label.
        """
        features: Tensor = self.backbone(images)
        logits: Tensor = self.head(features)
        return logits
