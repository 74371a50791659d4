"""The commands as dataclasses: what can be typed for each. No torch."""
