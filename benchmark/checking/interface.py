"""Has an agent what the harness asks for, and have its arrays the shapes that they should have?"""

from __future__ import annotations

import dataclasses
import inspect
import typing

import jax
import jax.numpy as jnp

from agents.base import Agent, Batch, Config, Draw, State, numeric_fields
from benchmark.checking.subject import (
    PHASES,
    Subject,
    batch_for,
    differing,
    kinds_of_update,
    phases,
    random_data,
)
from benchmark.checking.words import Fault, told
from benchmark.common.errors import nearest
from envs.data.dataset import Dataset
from envs.data.samplers import SAMPLERS
from envs.tasks import get_domain


def check_interface(subject: Subject) -> str:
    """Config, sampler, networks, targets and draws are declared as the harness reads them."""
    cls, agent = subject.cls, subject.agent
    check_config(cls)
    if cls.sampler not in SAMPLERS:
        raise Fault(f"sampler is '{cls.sampler}'; it must be one of {', '.join(SAMPLERS)}")
    check_survives_flattening(cls, agent)
    networks = agent.networks()
    for name, entry in networks.items():
        module, inputs = entry
        known = agent.input_sizes()
        if not hasattr(module, "init") or not set(inputs.split()) <= set(known):
            among = " ".join(known)
            raise Fault(
                f"networks()['{name}'] must be (module, inputs among '{among}', which input_sizes() can add to), "
                f"not ({type(module).__name__}, '{inputs}')"
            )
    missing = [name for name in cls.targets if name not in networks]
    if missing:
        raise Fault(f"targets names {', '.join(missing)}, of which networks() has none; it has {', '.join(networks)}")
    for name in agent.optimizers():
        if name not in networks:
            raise Fault(f"optimizers() names '{name}'{nearest(name, networks)}; the networks are {', '.join(networks)}")
    extra = jax.eval_shape(agent.init_extra)
    both = sorted(set(extra) & set(networks))
    if both:
        raise Fault(f"init_extra() names '{both[0]}', which is a network: both would be fixed.{both[0]}")
    options = [field.name for field in dataclasses.fields(cls.Config)]
    strange = [name for name in cls.acting_options if name not in options]
    if strange:
        raise Fault(f"acting_options names '{strange[0]}', which the agent does not have{nearest(strange[0], options)}")
    wrong = [name for name, draw in agent.draws(8).items() if not isinstance(draw, Draw)]
    if wrong:
        raise Fault(
            f"draws() must give normal(...), uniform(...) or integers(...); {', '.join(wrong)} is none of these"
        )
    for _, names in phases(agent):
        for name in names:
            if not callable(getattr(agent, name, None)):
                raise Fault(f"cycle() names the update '{name}', which the agent does not have")
    numeric = ", ".join(numeric_fields(cls.Config))
    return f"networks {', '.join(networks)}; targets {', '.join(cls.targets) or 'none'}; can be swept: {numeric}"


def check_config(cls: type[Agent]) -> None:
    """Every hyperparameter is typed and says what it does."""
    config = cls.Config
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise Fault(f"{cls.__name__}.Config must be a subclass of agents.base.Config")
    own = inspect.get_annotations(config)
    values = [
        name
        for name, value in vars(config).items()
        if not name.startswith("_") and isinstance(value, int | float | str | None)
    ]
    fields = {field.name for field in dataclasses.fields(config)}
    loose = [name for name in values if name not in own or (config.__dict__[name] is not None and name not in fields)]
    if own and "__dataclass_fields__" not in config.__dict__:
        raise Fault(f"{config.__name__} needs @dataclass(frozen=True), or {', '.join(own)} cannot be set")
    if loose:
        raise Fault(
            f"{config.__name__}.{loose[0]} has no type: write {loose[0]}: float = option(...), or it is not read "
            f"(and {loose[0]}: ClassVar[Any] = None for what the agent does not have)"
        )
    if not config.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise Fault(f"{config.__name__} must be frozen: @dataclass(frozen=True)")
    allowed = (float, int, bool, str)
    for name, kind in ((name, kind) for name, kind in typing.get_type_hints(config).items() if name in fields):
        if kind not in allowed and typing.get_origin(kind) is not tuple:
            raise Fault(f"hyperparameter {name} has type {kind}; allowed are float, int, bool, str and tuple[int, ...]")
    silent = [field.name for field in dataclasses.fields(config) if not field.metadata.get("text")]
    if silent:
        raise Fault(f"hyperparameter {silent[0]} does not say what it does: declare it with option(default, 'text')")


def check_survives_flattening(cls: type[Agent], agent: Agent) -> None:
    """jax takes agents apart and puts them together again; what is not a declared field does not survive."""
    lost = sorted(set(vars(agent)) - {"config", "observation_dim", "action_dim"})
    if lost:
        raise Fault(
            f"self.{lost[0]} is set in __init__ but lost when jax takes the agent apart: only config, observation_dim "
            "and action_dim survive; compute it in a property or method"
        )


def check_shapes(subject: Subject) -> str:
    """Updates keep the state's form, metrics are scalars, actions are chunks; with chunks and without, batch of one."""
    for domain in ("cube-double-play", "antmaze-large-navigate"):
        agent = subject.small(get_domain(domain))
        data = random_data(agent.observation_dim, agent.action_dim)
        state = jax.eval_shape(agent.init, jax.random.PRNGKey(0), data)
        check_facts(agent, data)
        if not isinstance(state, State):
            raise Fault(f"init returns {type(state).__name__}, not agents.base.State")
        for size in (8, 1):
            where = f"with chunks of {agent.config.chunk_length} actions and a batch of {size}"
            with told(where):
                check_begin(agent, state, where)
                check_update_shapes(agent, state, batch_for(agent, data, size), where)
                check_act_shape(agent, state, size, where)
    return "chunks of 5 and single actions, batches of 8 and of one"


def check_facts(agent: Agent, data: Dataset) -> None:
    """What the agent knows of its data does not grow with them: each seed and each checkpoint has it."""
    rng = jax.random.PRNGKey(0)
    more = jax.tree.map(lambda array: jnp.concatenate([array, array]), data)
    facts, others = (jax.eval_shape(agent.facts, rows, rng) for rows in (data, more))
    for name in facts:
        if facts[name].shape != others[name].shape:
            raise Fault(
                f"the fact '{name}' has shape {facts[name].shape} of {data.size} transitions and "
                f"{others[name].shape} of {more.size}: each seed and each checkpoint would have a copy as long as the "
                "data; reduce it in facts(), or draw a number of rows with its rng"
            )


def check_update_shapes(agent: Agent, state: State, batch: Batch, where: str) -> None:
    """Every kind of update maps a state to one of the same form, and gives scalars to log."""
    for name in kinds_of_update(phases(agent)):
        made = jax.eval_shape(getattr(agent, name), state, batch)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], dict)):
            raise Fault(f"{name} must return (state, dictionary of metrics), {where}")
        after, metrics = made
        if jax.tree.structure(after) != jax.tree.structure(state):  # type: ignore[operator]
            raise Fault(f"{name} returns a state of another structure than it was given, {where}")
        changed = differing(state, after, lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype))
        if changed:
            raise Fault(f"{name} changes the shape or type of state.{changed[0]}, {where}")
        for metric, value in metrics.items():
            if getattr(value, "shape", ()) != ():
                raise Fault(f"the metric '{metric}' has shape {value.shape}, not a scalar, {where}")


def check_begin(agent: Agent, state: State, where: str) -> None:
    """A phase begins with a state of the same form, whose count and key are as they were."""
    for phase in PHASES:
        after = jax.eval_shape(lambda state, phase=phase: agent.begin(state, phase), state)
        if jax.tree.structure(after) != jax.tree.structure(state):  # type: ignore[operator]
            raise Fault(f"begin(state, '{phase}') returns a state of another structure than it was given, {where}")
        changed = differing(state, after, lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype))
        if changed:
            raise Fault(f"begin(state, '{phase}') changes the shape or type of state.{changed[0]}, {where}")


def check_act_shape(agent: Agent, state: State, size: int, where: str) -> None:
    """Acting gives chunks of the right shape."""
    observations = jax.ShapeDtypeStruct((size, agent.observation_dim), jnp.float32)
    chunk = (agent.config.chunk_length, agent.action_dim)
    flat = jax.eval_shape(
        lambda state, s, rng: (
            agent.sample_actions(agent.bind(state.params, state.extra), agent.bind(state.targets), s, rng)
            if type(agent).act is Agent.act
            else agent.act(state, s, rng)
        ),
        state,
        observations,
        jax.random.PRNGKey(0),
    )
    wanted = (size, agent.chunk_dim) if type(agent).act is Agent.act else (size, *chunk)
    what = "sample_actions" if type(agent).act is Agent.act else "act"
    if flat.shape != wanted or not jnp.issubdtype(flat.dtype, jnp.floating):
        raise Fault(f"{what} gives {flat.dtype} {flat.shape} for {size} observations, not floats {wanted}, {where}")
