"""Two backbones as one, against each alone: `python -m benchmarks.fusion [--seeds 811 812] [--out FOLDER]`.

The second backbone is `tiny` trained from another seed with a third of the steps. For every drawn data set it trains the
default head on each backbone, on both with joined vectors, and averages the heads of both; three seeds of training each.
It prints a Markdown table of the means, and paired differences with 95 % intervals over images (first seed).
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.encoded import encoded_demo
from consistency.scale import macro_f1, qwk
from demo.dataset import write_demo
from demo.train_backbone import Recipe, train_backbone
from heads.config import HeadConfig
from heads.fused import FusedHeads
from heads.train import train_head
