"""Mistakes that break nothing and spoil what is learned, found by reading the agent's programs.

Traced, an update is a list of equations. Marks put on its inputs and followed through them (`flows`) say what reaches
what: which hyperparameters what is learned, which key a random number, which network's parameters a loss. A program is
read, not run, so that a mistake is found whatever the numbers are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents.alternating import AlternatingAgent
from agents.base import Agent, Batch, Config, State, numeric_fields
from benchmark.checking.flows import NONE, Marks, Path, as_text, follow, place, union
from benchmark.checking.next_values import Measure, check_discount, check_masks, terms, wrong_discount
from benchmark.checking.subject import PHASES, Subject, kinds_of_update, of_size, phases
from benchmark.checking.words import Fault, at_line
from benchmark.common.errors import UserError
from envs.data.dataset import Dataset

UNUSUAL_SIZES = itertools.count(211, 2)
"""Batches of a size that nothing else has. Each is used once: JAX mentions a broadcast only when it first traces it."""
SAME = ("reshape", "transpose", "broadcast_in_dim", "squeeze", "convert_element_type", "slice", "split", "copy")
"""Operations after which a parameter is still one."""
SUMS = ("add", "sub", "add_any", "neg", "reduce_sum", "cumsum", "concatenate", "pad", "rev", "gather", "dynamic_slice")
MATRICES = ("dot_general", "conv_general_dilated")
PRODUCTS = ("mul", "div", *MATRICES)
CHOICES = ("select_n", "max", "min", "clamp")
FLAT = ("stop_gradient", "floor", "ceil", "round", "sign")
"""Operations that let no gradient through."""


@dataclasses.dataclass(frozen=True)
class Program:
    """A traced function of an agent and further arguments, one of which is its random key."""

    jaxpr: Any
    is_key: list[bool]
    """Of each array among the further arguments."""


def trace(function, agent: Agent, *arguments: Any, key: Any) -> Program:
    """Trace; `key` is one of the arrays in `arguments`."""
    jaxpr = jax.make_jaxpr(lambda *all: function(*all))(agent, *arguments)
    return Program(jaxpr, [leaf is key for leaf in jax.tree.leaves(arguments)])


def programs_of(agent: Agent, data: Dataset, size: int) -> Iterator[tuple[str, Program]]:
    """Acting, initialisation, a sampler of its own and each kind of update, each traced when it is asked for.

    An update's metrics are left out, as they teach nothing.
    """
    rng = jax.random.PRNGKey(0)
    state, batch = jax.eval_shape(agent.init, rng, data), batch_form(agent, data, size)
    yield "act", trace(lambda agent, *rest: agent.act(*rest), agent, state, batch.observations, rng, key=rng)
    yield "init", trace(lambda agent, rng: agent.init(rng, data), agent, rng, key=rng)
    if type(agent).sample is not Agent.sample:
        yield "sample", trace(lambda agent, *rest: of_size(agent, size).sample(*rest), agent, data, rng, state, key=rng)
    for name in kinds_of_update(phases(agent)):
        yield name, trace(lambda agent, *rest: getattr(agent, name)(*rest)[0], agent, state, batch, key=state.rng)
    for phase in PHASES if type(agent).begin is not Agent.begin else ():
        yield f"begin {phase}", trace(lambda agent, state: agent.begin(state, phase), agent, state, key=state.rng)


def batch_form(agent: Agent, data: Dataset, size: int) -> Batch:
    """Shapes and types of a batch."""
    rng = jax.random.PRNGKey(0)
    return jax.eval_shape(of_size(agent, size).sample, data, rng, jax.eval_shape(agent.init, rng, data))


# ------------------------------------------------------------------------------------------------ pairs of samples


def check_pairs(subject: Subject) -> str:
    """No array of one number a sample becomes one of every pair of samples by broadcasting.

    Seen where arrays of different numbers of axes meet. Axes written out, `x[:, None] - y[None]`, are taken as meant.
    """
    size = next(UNUSUAL_SIZES)
    found: list[tuple[list[tuple[int, ...]], str]] = []

    def hear(message, *_: Any, **__: Any) -> None:
        if "rank promotion" not in str(message):
            return
        shapes = [tuple(map(int, re.findall(r"\d+", text))) for text in re.findall(r"\(([\d, ]*)\)", str(message))]
        frames = [frame for frame in traceback.extract_stack() if frame.filename == subject.file]
        line = at_line(frames[-1].filename, frames[-1].lineno, frames[-1].name, subject.file) if frames else ""
        if is_pairs(np.broadcast_shapes(*shapes), size):
            found.append((shapes, line))

    def hear_choice(path: Path, operands: list[Marks]) -> Marks:
        """`jnp.where` promotes without a word."""
        call = path[-2] if len(path) > 1 else path[-1]
        if call.params.get("name") == "_where" and is_pairs(call.outvars[0].aval.shape, size):
            shapes = [atom.aval.shape for atom in call.invars]
            if len({len(shape) for shape in shapes if shape}) > 1:
                found.append((shapes, place(path, subject.cls)))
        return NONE

    with warnings.catch_warnings(), jax.numpy_rank_promotion("warn"):
        warnings.filterwarnings("always", message=".*automatic rank promotion")
        warnings.showwarning = hear  # type: ignore[assignment]
        programs = dict(programs_of(subject.agent, subject.data, size))
    for program in programs.values():
        follow(program.jaxpr.jaxpr, [NONE] * len(program.jaxpr.in_avals), hear_choice)
    if found:
        shapes, line = found[0]
        written = " and ".join(str(shape).replace(str(size), "B") for shape in shapes if shape)
        raise Fault(
            f"arrays of shapes {written} are broadcast to all pairs of a batch's B samples, which mixes them: give "
            "both the shape (B,), e.g. by .squeeze(-1); where pairs are meant, write out both axes, "
            f"x[:, None] - y[None]{line}"
        )
    return "no broadcasting mixes the samples of a batch"


def is_pairs(shape: tuple[int, ...], size: int) -> bool:
    """Whether two axes are of the batch's size."""
    return shape.count(size) > 1


# ------------------------------------------------------------------------------------- random keys, hyperparameters


def reach(agent: Agent, program: Program, keys: dict[Path, bool]) -> Marks:
    """Names of the numeric hyperparameters that the program's results depend on (and "the key").

    `keys` is told each draw of random numbers, and whether it depends on the program's key.
    """

    def rule(path: Path, operands: list[Marks]) -> Marks:
        if path[-1].primitive.name in ("random_bits", "random_gamma", "rng_bit_generator"):
            keys[path] = "the key" in operands[0]
        return union(operands)

    marks = [frozenset([name]) for name in numeric_fields(agent.config)]
    marks += [frozenset(["the key"]) if is_key else NONE for is_key in program.is_key]
    return union(follow(program.jaxpr.jaxpr, marks, rule))


def check_randomness(subject: Subject) -> str:
    """Every random number comes from the key that is given, so that updates, seeds and episodes differ."""
    given = {"act": "act's rng", "init": "init's rng", "sample": "sample's rng"}
    drawn = 0
    for name, program in programs_of(subject.agent, subject.data, 8):
        keys: dict[Path, bool] = {}
        reach(subject.agent, program, keys)
        for path, from_given in keys.items():
            if not from_given:
                key = given.get(name, "state.rng")
                raise Fault(
                    f"{name} draws from a constant key, not from {key}: the same numbers each time or at least in each "
                    f"seed; name the array in draws() and take it from noise[...], or use a key made of {key} (draw "
                    f"with numpy what is to be constant){place(path, subject.cls)}"
                )
        drawn += len(keys)
    return f"{drawn} draws of random numbers, all from the key that is given"


def check_options(subject: Subject) -> str:
    """Each hyperparameter of the agent's own changes what is learned or done, perhaps only with other values of others.

    Those of `agents.base.Config`, which all agents have, may go unused. What is learned must depend on numeric ones;
    other values of the others must give another program, pattern of updates, set of draws or networks.
    """
    common = {field.name for field in dataclasses.fields(Config)}
    own = [field for field in dataclasses.fields(subject.agent.config) if field.name not in common]
    others = {field.name: other_values(field, getattr(subject.agent.config, field.name)) for field in own}
    found = effective(subject, {}, others)
    silent = [name for name in others if name not in found]
    switches = [
        (name, value) for name, values in others.items() for value in values if value == values[0] or type(value) is str
    ]
    for name, value in sorted(switches, key=lambda switch: not isinstance(switch[1], bool | str)) if silent else ():
        with contextlib.suppress(Exception):  # not allowed, or not to be traced: nothing is known
            found = effective(subject, {name: value}, {quiet: others[quiet] for quiet in silent if quiet != name})
            silent = [quiet for quiet in silent if quiet not in found]
        if not silent:
            break
    if silent:
        raise Fault(
            f"the hyperparameter {silent[0]} changes nothing that is learned or done, with none of the values tried of "
            f"the others: use self.config.{silent[0]} where it belongs, or leave it out of "
            f"{type(subject.agent.config).__name__} (a use in a metric, or in a term without gradient, changes nothing)"
        )
    check_acting_options(subject)
    return f"each has an effect: {', '.join(others)}" if own else "it has none of its own"


def check_acting_options(subject: Subject) -> None:
    """Raise a Fault where what is learned depends on a hyperparameter that only acting is said to read."""
    agent = subject.agent
    fields = {field.name: field for field in dataclasses.fields(agent.config)}

    def learning(agent: Agent) -> dict[str, Program]:
        programs = programs_of(agent, subject.data, 8)
        return {name: program for name, program in programs if name != "act"}

    programs = learning(agent)
    read = {name: reach(agent, program, {}) for name, program in programs.items()}
    for option in agent.acting_options:
        others = [
            learning(subject.small(subject.domain, **{option: value}))
            for value in other_values(fields[option], getattr(agent.config, option))[:1]
        ]
        for name, program in programs.items():
            if option in read[name] or any(as_text(other[name].jaxpr) != as_text(program.jaxpr) for other in others):
                raise Fault(
                    f"{name} depends on {option}, which acting_options says only acting reads: a state trained at one "
                    "value would be evaluated at others; leave it out of acting_options, or of what is learned"
                )


def other_values(field: dataclasses.Field, value: Any) -> list[Any]:
    """Values that a hyperparameter might have instead, some perhaps not allowed; none of a numeric one."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, value - 1]  # an odd number may be rounded to an even one
    if isinstance(value, tuple):
        return [(*value, 8)]
    return [choice for choice in field.metadata.get("choices") or () if choice != value]


def effective(subject: Subject, switch: Mapping[str, Any], others: Mapping[str, list[Any]]) -> set[str]:
    """Those of some hyperparameters that have an effect where `switch` is set; `others` has values to try of each."""
    agent = subject.small(subject.domain, **switch)
    programs = dict(programs_of(agent, subject.data, 8))
    found = set(union([reach(agent, program, {}) for program in programs.values()]))
    known = [*plans(agent), *(as_text(program.jaxpr) for program in programs.values())]
    for name in set(others) - set(numeric_fields(agent.config)):
        changes = []
        for value in others[name]:
            with contextlib.suppress(UserError):  # not allowed
                changes.append(differs(subject, known, subject.small(subject.domain, **{**switch, name: value})))
                if changes[-1]:
                    break
        if any(changes) or not changes:
            found.add(name)
    return found


def differs(subject: Subject, known: list[str], other: Agent) -> bool:
    """Whether an agent's plans or programs are others than those known; so are those that cannot be traced."""
    try:
        programs = (as_text(program.jaxpr) for _, program in programs_of(other, subject.data, 8))
        return any(a != b for a, b in itertools.zip_longest(known, itertools.chain(plans(other), programs)))
    except Exception:
        return True


def plans(agent: Agent) -> list[str]:
    """What the harness asks an agent for, besides programs."""
    return [f"{phases(agent)} {agent.pretraining_steps}", f"{agent.draws(8)}", f"{agent.networks()}"]


# ------------------------------------------------------------------------------------------------------- losses


class Gradients:
    """The rule that follows gradient through a loss (as `flows` wants it). Its marks, besides those of the inputs:

    ("of", n): a parameter of network n. ("with", n): n's gradient flows through; ("through", n): so does it, and other
    networks were applied to n's output. ("judged", n) and ("part", n): the same of a value that was compared with
    rewards, sample by sample. ("ahead", n): a value of n, or of what depends on n, at s'; ("weighed", n): that, times γ
    or m; ("bootstrap", n): that, together with the rewards. ("both", n, o): the networks n and o in one term, n not
    before o, that is not compared with rewards; sums of terms are not one.

    "network" is on all that depends on parameters, trained, fixed or target, also where no gradient flows through.
    "rewards" is on what depends on rewards, but not on losses of it: what is made of an error of something trained, and
    is no sum or multiple of it.
    """

    def __init__(self) -> None:
        """Nothing was followed yet."""
        self.places: dict[Any, Path] = {}
        """Where a mark first came up."""
        self.discounted: dict[Path, bool] = {}
        """Where rewards and a next value meet, and whether γ has entered the latter, in a loop's last round."""

    def __call__(self, path: Path, operands: list[Marks]) -> Marks:
        """Marks of an equation's result."""
        name, result = path[-1].primitive.name, path[-1].outvars[0].aval
        data = frozenset(mark for mark in union(operands) if isinstance(mark, str))
        if name in ("integer_pow", "pow") and "discount" in data:
            data = data - {"discount"} | {"power of discount"}
        if is_loss(name, operands):
            data = data - {"rewards"}
        if name in FLAT or not jnp.issubdtype(result.dtype, jnp.inexact):
            return data
        made: set[Any] = set(data)
        seen: list[set[Any]] = []
        for i, one in enumerate(operands):
            rest = operands[:i] + operands[i + 1 :]
            others, pure = union(rest), union([other for other in rest if not is_trained(other)])
            applied = {mark[1] for mark in others if mark[0] == "of"} if name in MATRICES else set()
            judged = result.ndim > 0 and "rewards" in others
            seen.append(set())
            for kind, *networks in (mark for mark in one if isinstance(mark, tuple)):
                if kind == "of" and name not in SAME:
                    kind = "with"
                    made |= {("ahead", *networks)} if "next" in others else set()
                if kind == "with" and applied - {*networks}:
                    kind = "through"
                if kind == "ahead" and name != "add" and pure & {"masks", "discount", "power of discount"}:
                    made.add(("weighed", *networks))
                if kind == "weighed" and result.ndim > 0 and "rewards" in (others if name in ("add", "sub") else pure):
                    made.add(("bootstrap", *networks))
                if judged:
                    kind = {"with": "judged", "through": "part", "both": "compared"}.get(kind, kind)
                seen[-1].add((kind, *networks))
            made |= seen[-1]
            if "discount" in one and "next" in others | one and "discount" not in others:
                self.places.setdefault("discount", path)
            meets = name in ("add", "sub") and result.ndim > 0 and "rewards" in others and not is_next_value(others)
            if meets and is_next_value(one):
                self.places.setdefault("target", path)
                if "masks" in one:
                    self.discounted[path] = bool(one & {"discount", "power of discount"})
        made |= {("both", *pair) for pair in self.pairs(name, seen)}
        for mark in made - union(operands):
            self.places.setdefault(mark, path)
        return frozenset(made)

    def pairs(self, name: str, operands: list[set[Any]]) -> set[tuple[str, str]]:
        """Pairs of networks that an equation brings together other than in a sum; to the first no other was applied."""
        if name in (*SAME, *SUMS, "select_n"):
            return set()
        last = [{mark[1] for mark in marks if mark[0] == "with"} for marks in operands]
        trained = [{mark[1] for mark in marks if mark[0] in ("with", "through")} for marks in operands]
        if name in PRODUCTS:
            each = itertools.permutations(range(len(operands)), 2)
            found = {pair for i, j in each for pair in itertools.product(last[i], trained[j])}
        else:
            found = set(itertools.product(set().union(*last), set().union(*trained)))
        return {pair for pair in found if pair[0] != pair[1]}


def is_next_value(marks: Marks) -> bool:
    """Whether something depends on what a network says at s'."""
    return marks >= {"network", "next"}


def is_trained(marks: Marks) -> bool:
    """Whether something has a gradient."""
    return any(isinstance(mark, tuple) for mark in marks)


def is_loss(name: str, operands: list[Marks]) -> bool:
    """Whether an operation makes of an error of something trained what is no sum or multiple of it, e.g. its square."""
    errors = [one for one in operands if "rewards" in one]
    linear = name in (*SAME, *SUMS, *CHOICES, "stop_gradient") or (name in PRODUCTS and len(errors) == 1)
    return not linear and any(map(is_trained, errors))


def check_losses(subject: Subject) -> str:
    """Next values are constants discounted by γ^H that end with an episode, and no other network's loss trains a value.

    Not seen: updates without loss() or descend(); a target that is neither added to the rewards sample by sample nor
    weighed by γ or masks; one that neither γ nor masks weigh; a value trained by a term that compares with rewards too,
    or that has no other network but such as a value is a function of (its encoder) or that are applied to it; what
    `check_masks` and `check_discount` name. The line says what they could not measure.
    """
    agent, cls = subject.agent, subject.cls
    if not isinstance(agent, AlternatingAgent) and cls.loss is Agent.loss:
        return "it has no loss() or descend() to look into"
    state = jax.eval_shape(agent.init, jax.random.PRNGKey(0), subject.data)
    batch = batch_form(agent, subject.data, 8)
    traced = jax.make_jaxpr(lambda agent, *rest: terms(agent, *rest))(agent, state.params, state, batch)
    gradients = Gradients()
    found = union(follow(traced.jaxpr, marks_of_inputs(agent, state, batch), gradients))
    check_stopped(found, gradients, cls)
    for path in (path for path, discounted in gradients.discounted.items() if not discounted):
        raise wrong_discount(agent, "the TD target does not discount the next value by self.config.discount", path)
    measure, places = Measure(subject), gradients.places
    said = f"{check_masks(measure, places.get('target'))}; {check_discount(measure, places.get('discount'))}"
    said = said if measure.reads_masks() else "masks weigh no next value"
    return f"no gradient through next values or from one network's loss into another's; {said}"


def marks_of_inputs(agent: Agent, state: State, batch: Batch) -> list[Marks]:
    """Of each array that `terms` is given, with what is trained: that which `Gradients` follows."""
    marks = [frozenset(["discount"]) if name == "discount" else NONE for name in numeric_fields(agent.config)]
    for name, parameters in sorted(state.params.items()):
        marks += [frozenset([("of", name), "network"])] * len(jax.tree.leaves(parameters))
    learned = jax.tree.map(lambda _: frozenset(["network"]), {"params": state.params, "targets": state.targets})
    marks += jax.tree.leaves(jax.tree.map(lambda _: NONE, state).replace(**learned))
    roles = dict(rewards="rewards", masks="masks", next_observations="next")
    return marks + [frozenset([roles[name]]) if name in roles else NONE for name in batch._fields]


def check_stopped(found: Marks, gradients: Gradients, cls: type[Agent]) -> None:
    """Raise a Fault where a target gets gradient, or a value from a loss of another network."""
    for mark in sorted(mark for mark in found if mark[0] == "bootstrap"):
        raise Fault(
            f"the TD target is trained: gradient flows into '{mark[1]}' through what it says at "
            f"batch.next_observations; write target.{mark[1]} or fixed.{mark[1]} there, or put jax.lax.stop_gradient "
            f"round the target{place(gradients.places['ahead', mark[1]], cls)}"
        )
    values, parts = ({mark[1] for mark in found if mark[0] == kind} for kind in ("judged", "part"))
    for mark in sorted(mark for mark in found if mark[0] == "both"):
        _, value, other = mark
        if value in values and other not in values | parts:
            raise Fault(
                f"the loss that trains '{other}' trains '{value}' too, which learns from rewards elsewhere: write "
                f"fixed.{value} (or target.{value}) there instead of train.{value}{place(gradients.places[mark], cls)}"
            )
