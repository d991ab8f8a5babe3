"""What watches a run: its console, its records, its figures, its interruption."""

from hymenoptera.callbacks.calibration import CheckpointCalibration
from hymenoptera.callbacks.checkpoints import LastCheckpoint, ResumedBest
from hymenoptera.callbacks.console import EpochTable, quiet_libraries
from hymenoptera.callbacks.evaluation import Evaluation, evaluation_of
from hymenoptera.callbacks.feature_cache import FeatureCache
from hymenoptera.callbacks.figures import Embeddings, EvaluationFigures, GradCamImages
from hymenoptera.callbacks.finite import FiniteLoss
from hymenoptera.callbacks.history import History
from hymenoptera.callbacks.interruption import InterruptedTraining, Interruption, interruptible
from hymenoptera.callbacks.lr_range import LearningRateRange
from hymenoptera.callbacks.pruning import Pruning
from hymenoptera.callbacks.record import RunRecord
from hymenoptera.callbacks.tensorboard import AugmentedImages, TensorBoard

__all__ = [
    "AugmentedImages",
    "CheckpointCalibration",
    "Embeddings",
    "EpochTable",
    "Evaluation",
    "EvaluationFigures",
    "FeatureCache",
    "FiniteLoss",
    "GradCamImages",
    "History",
    "InterruptedTraining",
    "Interruption",
    "LastCheckpoint",
    "LearningRateRange",
    "Pruning",
    "ResumedBest",
    "RunRecord",
    "TensorBoard",
    "evaluation_of",
    "interruptible",
    "quiet_libraries",
]
