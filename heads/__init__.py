"""Similarity thresholds and frozen-backbone heads on arrays of embeddings."""
