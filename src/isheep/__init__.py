"""isheep: a language model aligns itself (I-SHEEP, arXiv 2408.08072)."""

__version__ = "0.1.0"
