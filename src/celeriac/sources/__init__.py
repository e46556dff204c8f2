"""Where entities come from: one module a kind, found by name in `registry`."""
