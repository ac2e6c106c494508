"""lamb, the embedded base model: a small world of text tasks, the corpus drawn from it, and the pretraining.

It stands apart: the loop knows lamb only as a model directory and a seed file, and imports nothing from here.
"""
