"""isheep: a language model aligns itself (I-SHEEP, arXiv 2408.08072)."""

__version__ = "0.1.0"

from isheep.recipe import Recipe
from isheep.store.run import Run  # before the function of the same name takes the module's place

from isheep.loop import run  # isort: skip

__all__ = ["Recipe", "Run", "__version__", "run"]
