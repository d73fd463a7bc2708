"""One run: settings, loop, directory, checkpoints, metrics."""
