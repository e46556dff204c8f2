"""One script a system, each run in a process of its own; they share `wire` and nothing else."""
