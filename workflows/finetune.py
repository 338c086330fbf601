"""`finetune`: the encoders and a head end to end, straight from pictures; the embedding cache takes no part."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from consistency.backbone import load_backbone
from consistency.plots import training_png
from consistency.progress import Progress, silent
from consistency.resolve import resolve_backbone
from consistency.splits import Split, hold_out_validation
from finetune.config import FinetuneConfig
from workflows.encode import set_threads
from workflows.evaluate import Clock, Outcome, controls, open_run, predictions_of, split_table, write_run
from workflows.inputs import read_inputs
from workflows.options import Encoding, Evaluation, Source

Recipe = Literal["default", "paper"]
SYSTEMS: dict[Recipe, str] = {"default": "finetune", "paper": "finetune-paper"}
