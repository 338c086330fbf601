"""The embedded default: drawn scenes with hashtags, and `tiny`, a small Korean CLIP trained on them."""
