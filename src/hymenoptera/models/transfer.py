"""What of a classifier is trained, and at which rate."""

from typing import Any, Protocol

from hymenoptera.models.classifier import Classifier


class Transfer(Protocol):
    """Decides what is trained. Every parameter group is declared before the first step."""

    def parameter_groups(self, classifier: Classifier) -> list[dict[str, Any]]:
        """Groups for a torch optimizer, each with its `name`, for logs."""
        ...


class Full:
    """Everything is trained, at the optimizer's rate."""

    def parameter_groups(self, classifier: Classifier) -> list[dict[str, Any]]:
        """One group of all parameters."""
        return [{"params": list(classifier.parameters()), "name": "all"}]
