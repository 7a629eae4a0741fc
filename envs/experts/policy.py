"""An expert on disk: its policy's parameters (safetensors) and a card (JSON) that says what made it.

No JAX: processes that make data load numpy and a simulator alone. Nothing that is read here is executed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmark.common.errors import UserError
from benchmark.common.files import make_folder, write_bytes, write_json
from benchmark.common.machine import ROOT

EXPERTS = ROOT / "results" / "experts"
"""Where the repository's own experts are."""
PARAMETERS, CARD = "expert.safetensors", "card.json"


class Expert:
    """A policy that walks: the action at which its density is largest before tanh, tanh(μ)."""

    def __init__(self, parameters: dict[str, np.ndarray]):
        """`parameters` of an `envs.experts.sac.Actor` by their paths, e.g. 'trunk/dense_0/kernel'."""
        count = sum(name.startswith("trunk/") and name.endswith("/kernel") for name in parameters)
        layers = [*(f"trunk/dense_{layer}" for layer in range(count)), "mean"]
        self._layers = [(parameters[f"{name}/kernel"], parameters[f"{name}/bias"]) for name in layers]

    @property
    def sizes(self) -> tuple[int, int]:
        """(O, d) of observation with direction, and action."""
        return self._layers[0][0].shape[0], self._layers[-1][0].shape[1]

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """The action (d,), float32 in [-1, 1], for an observation with the direction behind it (O,)."""
        x = np.asarray(observation, np.float32)
        for kernel, bias in self._layers[:-1]:
            x = gelu(product(x, kernel) + bias)
        kernel, bias = self._layers[-1]
        return np.tanh(product(x, kernel) + bias)


def product(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x (n,) times kernel (n, m), by one thread: BLAS adds in another order on another number of cores."""
    return np.einsum("i,ij->j", x, kernel)


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU, the tanh approximation, as `agents.networks.MLP` has it."""
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def write_expert(folder: Path, parameters: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    """Write an expert: its parameters, then its card, which has their digest."""
    content = save({name: np.ascontiguousarray(array, np.float32) for name, array in parameters.items()})
    make_folder(folder)
    write_bytes(folder / PARAMETERS, content)
    write_json(folder / CARD, {**card, "sha256": hashlib.sha256(content).hexdigest()})


def read_expert(folder: Path, body: str) -> tuple[Expert, dict[str, Any]]:
    """Read an expert and its card.

    Raises a UserError where there is none, the files are not those that were written, or it moves another body.
    """
    make = f"python -m envs.train_expert --body={body}"
    try:
        content, text = (folder / PARAMETERS).read_bytes(), (folder / CARD).read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"there is no expert for the {body} in {folder} ({why}); train one: {make}") from error
    try:
        card = json.loads(text)
        wanted, moves = card["sha256"], card["body"]
        expert = Expert(load(content))
    except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise UserError(f"the expert in {folder} cannot be read: {str(error)[:80] or type(error).__name__}") from error
    if moves != body:
        raise UserError(f"the expert in {folder} moves the {moves}, not the {body}")
    if hashlib.sha256(content).hexdigest() != wanted:
        raise UserError(f"{folder / PARAMETERS} is not the file that its {CARD} describes (sha256 {wanted})")
    return expert, card
