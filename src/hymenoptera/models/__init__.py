"""The classifier, its backbones and schedules, and what uses a trained one."""

from hymenoptera.models.classifier import ImageClassifier
from hymenoptera.models.predictor import Neighbour, Prediction, Predictor

__all__ = ["ImageClassifier", "Neighbour", "Prediction", "Predictor"]
