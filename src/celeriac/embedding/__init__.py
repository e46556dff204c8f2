"""Embedding models: described as data, loaded by the registry, computed by engines."""
