"""Draws landscapes from a prompt and a seed: the same bytes in every run."""
