"""Scoring new images and hashtags with a trained model that stays loaded."""
