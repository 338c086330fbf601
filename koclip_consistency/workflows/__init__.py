"""One module per command: reads the inputs, calls the packages in order, writes the run folder."""
