"""Colour profiles and the way to sRGB."""
