"""Faults inside the processes of a deployment. Loaded by tests alone, never part of celeriac."""
