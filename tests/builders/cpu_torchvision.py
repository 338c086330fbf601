"""A pytest plugin: lets the torchvision of PyPI, whose compiled operators need CUDA, be imported beside a CPU torch.

open_clip uses torchvision's image transforms only, which are written in Python. Use it with
`-p tests.builders.cpu_torchvision`, so that it comes before every other import.
"""

import torch

if torch.version.cuda is None:
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
