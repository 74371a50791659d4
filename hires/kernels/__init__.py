"""Tensors in, tensors out: what every step spends its time in."""
