"""The embedding cache: embeddings of images and hashtags in durable HDF5 segments, written once."""
