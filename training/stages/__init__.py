"""What each stage makes of records: the forwards it runs and the loss that comes of them.

A stage is a function (model, records, recipe, step, generator) → `StageLoss`; the loop is the same
for all, and a stage is one file.
"""

from collections.abc import Callable, Mapping

from training.recipes import Stage
from training.stages.adapt import adapt
from training.stages.common import StageLoss, TrainingRecord
from training.stages.fim import fim

__all__ = ["STAGES", "StageLoss", "TrainingRecord"]

STAGES: Mapping[Stage, Callable[..., StageLoss]] = {"fim": fim, "adapt": adapt}
