"""Ladder, objective, references and the run, which is the one loop."""
