"""What depends on what in a traced program: sets of marks are carried from its inputs through its equations.

A rule says which marks the results of an equation have, from those of its operands; loops are followed until nothing
changes. An equation comes with the equations that it lies within, outermost first, so that its place can be told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal, jaxprs_in_params

from agents.base import Agent
from benchmark.checking.words import at_line

Marks = frozenset[Any]
Path = tuple[Any, ...]
"""An equation and those that it lies within, outermost first."""
Rule = Callable[[Path, list[Marks]], Marks]
"""From an equation and the marks of its operands to those of its results."""
NONE: Marks = frozenset()


def as_text(traced: Any) -> str:
    """What a traced function computes, constants included."""
    return f"{traced.jaxpr}{[np.asarray(constant).tobytes() for constant in traced.consts]}"


def union(marks: Sequence[Marks]) -> Marks:
    """Those of all."""
    return NONE.union(*marks)


def follow(jaxpr: Any, inputs: Sequence[Marks], rule: Rule, within: Path = ()) -> list[Marks]:
    """Marks of a program's results from those of its inputs."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def of(atoms: Sequence[Any]) -> list[Marks]:
        return [NONE if isinstance(atom, Literal) else known.get(atom, NONE) for atom in atoms]

    for equation in jaxpr.eqns:
        results = through((*within, equation), of(equation.invars), rule)
        known.update(zip(equation.outvars, results, strict=True))
    return of(jaxpr.outvars)


def through(path: Path, operands: list[Marks], rule: Rule) -> list[Marks]:
    """Marks of an equation's results, one for each."""
    equation, name = path[-1], path[-1].primitive.name
    params = equation.params
    if name == "scan":
        return loop(params["jaxpr"].jaxpr, operands, params["num_consts"], params["num_carry"], rule, path)
    if name == "while":
        test, body = operands[: params["cond_nconsts"]], operands[params["cond_nconsts"] :]
        results = loop(params["body_jaxpr"].jaxpr, body, params["body_nconsts"], len(equation.outvars), rule, path)
        decides = union(follow(params["cond_jaxpr"].jaxpr, [*test, *results], rule, path))
        return [marks | decides for marks in results]
    if name == "cond":
        branches = [follow(branch.jaxpr, operands[1:], rule, path) for branch in params["branches"]]
        return [union(marks) | operands[0] for marks in zip(*branches, strict=True)]
    inner = list(jaxprs_in_params(params))
    if len(inner) == 1 and len(inner[0].invars) == len(operands) and len(inner[0].outvars) == len(equation.outvars):
        return follow(inner[0], operands, rule, path)
    return [rule(path, operands)] * len(equation.outvars)


def loop(body: Any, operands: list[Marks], constants: int, carried: int, rule: Rule, path: Path) -> list[Marks]:
    """Results of a loop: the carried values' marks grow until they stay."""
    fixed, carry, rows = operands[:constants], operands[constants:][:carried], operands[constants + carried :]
    while True:
        results = follow(body, [*fixed, *carry, *rows], rule, path)
        grown = [before | after for before, after in zip(carry, results[:carried], strict=True)]
        if grown == carry:
            return [*grown, *results[carried:]]
        carry = grown


def place(path: Path, cls: type[Agent]) -> str:
    """The line of the agent's file at which an equation was made, or else of the file of a class that it extends."""
    own, *others = [str(sys.modules[kind.__module__].__file__) for kind in cls.__mro__ if issubclass(kind, Agent)]
    for file in (own, *others):
        for equation in reversed(path):
            trace = equation.source_info.traceback
            for frame in trace.frames if trace else ():
                if frame.file_name == file:
                    return at_line(file, frame.line_num, frame.function_name, own)
    return ""
