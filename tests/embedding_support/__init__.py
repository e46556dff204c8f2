"""What the embedding tests stand on: tiny models, and servers that speak like the real ones."""
