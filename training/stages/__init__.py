"""What each stage makes of records: the forwards it runs and the loss that comes of them.

A stage is a function (model, records, recipe, step, generator) → `StageLoss`; the loop is the same
for all, and a stage is one file.
"""

from collections.abc import Callable, Mapping

from training.recipes import Stage
from training.stages.adapt import adapt
from training.stages.ar import ar
from training.stages.common import StageLoss, TrainingRecord
from training.stages.early import early
from training.stages.edit import edit
from training.stages.fim import fim
from training.stages.onpolicy import onpolicy
from training.stages.order import order

__all__ = ["STAGES", "StageLoss", "TrainingRecord"]

STAGES: Mapping[Stage, Callable[..., StageLoss]] = {
    "fim": fim,
    "adapt": adapt,
    "edit": edit,
    "order": order,
    "onpolicy": onpolicy,
    "early": early,
    "ar": ar,
}
