"""Procedural sample pictures: a harbour to paint, an oil painting and a woodcut to paint with."""
