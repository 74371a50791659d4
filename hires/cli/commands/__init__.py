"""One module for each command, with a function ``run`` that returns the exit code."""
