"""End-to-end fine-tuning of the two encoders and a head; never enters the cache."""
