"""Which settings some code reads, found by a walk through its syntax."""

from __future__ import annotations

import ast

from pydantic import BaseModel

from isheep.recipe import Recipe

Chain = tuple[str, ...]


def group_paths(model: type[BaseModel] = Recipe, path: Chain = ("recipe",)) -> dict[str, Chain]:
    """Name of each settings class -> where it stands: `LoraSettings` -> recipe, train, lora."""
    found = {model.__name__: path}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= group_paths(field.annotation, (*path, name))
    return found


GROUPS = group_paths()


class Reads:
    """The settings that a module reads: attribute chains from anything called recipe, also through local names,
    attributes of self, and parameters annotated with a settings class."""

    def __init__(self, source: str) -> None:
        tree = ast.parse(source)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self.names: dict[Chain, Chain] = {}
        for function in functions:
            known = dict(self.names)
            self._learn(function)
            self.names = known | {name: path for name, path in self.names.items() if name[0] == "self"}
        self.read: set[str] = set()
        known = dict(self.names)
        for function in functions:
            self.names = dict(known)
            self._learn(function)
            self._note(function)
        self.names = known
        self._note(tree)

    def _learn(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            words = ast.unparse(argument.annotation).split(" | ") if argument.annotation else []
            for word in words:
                if word in GROUPS:
                    self.names[(argument.arg,)] = GROUPS[word]
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._assign(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self._assign(node.target, node.value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=True):
                self._assign(one, other)
            return
        name, path = self._chain(target), self._path(value)
        if name and path:
            self.names[name] = path

    def _note(self, tree: ast.AST) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                path = self._path(node)
                if path:
                    self.read.add(".".join(path[1:]))

    def _path(self, node: ast.expr) -> Chain | None:
        """The chain from the recipe on, None for other things."""
        chain = self._chain(node)
        for length in range(len(chain), 0, -1):
            if chain[:length] in self.names:
                return (*self.names[chain[:length]], *chain[length:])
        starts = [place for place, name in enumerate(chain) if name in ("recipe", "_recipe")]
        return ("recipe", *chain[starts[-1] + 1 :]) if starts else None

    def _chain(self, node: ast.expr) -> Chain:
        if isinstance(node, ast.Name):
            return (node.id,)
        inner = self._chain(node.value) if isinstance(node, ast.Attribute) else ()
        return (*inner, node.attr) if inner and isinstance(node, ast.Attribute) else ()
