"""Callbacks of a training run: values that name what the job should do besides training.

    import finetuner
    finetuner.fit(..., callbacks=[finetuner.callback.EvaluationCallback('queries.csv', index_data='names.csv')])

Names, parameters and defaults are those of the old client (0.8.1). A `CustomCallback` is one of your own.
"""

from finetuner.api.sources import DataSource as DataSource
from finetuner.callback.custom import CustomCallback as CustomCallback
from finetuner.callback.custom import Training as Training
from finetuner.callback.registry import CALLBACKS as CALLBACKS
from finetuner.callback.registry import check_callbacks as check_callbacks
from finetuner.callback.registry import from_wire as from_wire
from finetuner.callback.values import WANDB_ARGS as WANDB_ARGS
from finetuner.callback.values import WANDB_KEY as WANDB_KEY
from finetuner.callback.values import WANDB_MISSING as WANDB_MISSING
from finetuner.callback.values import BestModelCheckpoint as BestModelCheckpoint
from finetuner.callback.values import Callback as Callback
from finetuner.callback.values import EarlyStopping as EarlyStopping
from finetuner.callback.values import EvaluationCallback as EvaluationCallback
from finetuner.callback.values import TrainingCheckpoint as TrainingCheckpoint
from finetuner.callback.values import WandBLogger as WandBLogger
from finetuner.callback.values import WiSEFTCallback as WiSEFTCallback
