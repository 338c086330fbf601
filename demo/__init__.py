"""The packaged demo: drawn images with scored hashtags, and `tiny`, a small Korean CLIP trained on such drawings."""
