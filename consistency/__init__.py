"""The task's vocabulary: pair tables, pictures, splits, metrics, backbones, run folders. Imports nothing of ours."""
