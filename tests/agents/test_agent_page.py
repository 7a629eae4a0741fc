"""docs/agent.md names all that the interface has, with the shapes that it has, and its recipes run."""

import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import flow
from agents.base import Agent, Batch, State, normal, option, uniform
from agents.fql import FQL
from agents.networks import VectorField
from agents.transitions import Transitions, Window
from benchmark.checking.subject import phases
from envs.data.dataset import from_transitions
from tests.helpers.worlds import D, O, transitions

PAGE = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SIZES = dict(B=8, O=O, d=D, H=3, A=3 * D, L=4)
SMALL = dict(hidden=(8,), ensemble=2, batch_size=SIZES["B"], chunk_length=SIZES["H"])
DATA = from_transitions(**transitions())


def table(heading):
    """name -> second column of the table whose head begins so."""
    rows = PAGE.split(f"| {heading} |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {name.strip("`"): second for name, second, *_ in cells}


def shape(text):
    """A shape of the page in numbers."""
    return tuple(SIZES.get(part, part) if part in SIZES else int(part) for part in re.findall(r"\w+", text))


def shapes(tree):
    """Of a named tuple's or dataclass's fields."""
    return {name: getattr(tree, name).shape for name in getattr(tree, "_fields", ())}


def test_the_tables_of_batch_and_window_are_the_codes_with_their_shapes():
    start = jnp.arange(SIZES["B"])
    pieces = lambda start: (DATA.batch(start, SIZES["H"], 0.9), DATA.window(start, SIZES["L"]))  # noqa: E731
    found = map(shapes, jax.eval_shape(pieces, start))
    for made, heading, kind in zip(found, ("field", "field of a window"), (Batch, Window), strict=True):
        assert list(made) == list(kind._fields)
        assert made == {name: shape(text) for name, text in table(heading).items()}


def test_the_table_of_the_state_is_the_codes():
    rows = PAGE.split("## State")[1].split("## ")[0]
    named = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", rows, re.M))
    assert list(named) == list(State.__dataclass_fields__)
    state = jax.eval_shape(FQL(FQL.Config(**SMALL), O, D).init, jax.random.PRNGKey(0))
    for name, text in named.items():
        if text.startswith("("):
            assert getattr(state, name).shape == shape(text), name


@pytest.mark.parametrize("kind, prefix", [(Agent, ""), (Transitions, "data.")])
def test_every_public_name_of_the_interface_is_on_the_page(kind, prefix):
    names = {name for name in [*vars(kind), *kind.__annotations__] if not name.startswith("_")}
    absent = {name for name in names if not re.search(rf"`[^`\n]*(?<!\w){re.escape(prefix + name)}\b[^`\n]*`", PAGE)}
    assert not absent


def test_the_page_names_nothing_that_the_interface_lacks():
    said = [re.match(r"\w+", name).group() for name in table("name")]
    assert [name for name in said if not hasattr(Agent, name) and name not in Agent.__annotations__] == []
    used = re.findall(r"data\.(\w+)", PAGE)
    assert [name for name in used if not hasattr(Transitions, name) and not hasattr(DATA, name)] == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"class (\w+)", block).group(1))
def test_a_recipe_draws_updates_and_acts(block):
    made = dict(jax=jax, jnp=jnp, np=np, optax=optax, flow=flow, FQL=FQL, Agent=Agent)
    made |= dict(dataclass=dataclass, VectorField=VectorField)
    made |= dict(normal=normal, uniform=uniform, option=option)
    before = set(made)
    exec(block, made)
    kinds = [
        made[name] for name in set(made) - before if isinstance(made[name], type) and issubclass(made[name], Agent)
    ]
    assert kinds
    for kind in kinds:
        agent = kind(kind.Config(**SMALL), O, D)
        rng = jax.random.PRNGKey(0)

        def run(agent, rng):
            state = agent.init(rng, DATA)
            for _, names in phases(agent):
                for name in names:
                    state, _ = getattr(agent, name)(state, agent.sample(DATA, rng, state))
            return state, agent.act(state, jnp.zeros((5, O)), rng)

        state, actions = jax.eval_shape(run, agent, rng)
        assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(agent.init, rng, DATA))
        assert actions.shape == (5, SIZES["H"], D)
