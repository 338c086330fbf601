"""The HTTP service and the local app, both over scorers that stay loaded."""
