"""Faults put into real runs of lamb, one after the other: `python -m tests.faults`, `make faults`."""
