"""The embedding cache: embeddings of pictures and hashtags in durable HDF5 segments, written once."""
