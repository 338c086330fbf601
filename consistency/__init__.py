"""The task's vocabulary: pair tables, images, splits, metrics, backbones, run folders. Imports nothing of ours."""
