"""Frozen VGG-shaped networks: architecture, passes, cost of tiles, checkpoints."""
