"""The embedding cache: embeddings of images and hashtags in immutable, durable HDF5 segments."""
