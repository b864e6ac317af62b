"""What each command does, as a function: the Python API behind the command line."""
