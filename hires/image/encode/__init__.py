"""Tensors to files."""
