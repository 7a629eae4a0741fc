"""A policy's files may be anything: what cannot be used is told in a line, before anything large is made of it."""

import json
import os
import resource
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmark import load_policy
from benchmark.common.errors import UserError
from benchmark.loop.evaluating import evaluate_policies
from benchmark.loop.played import FILE
from benchmark.loop.players import Asked
from benchmark.loop.worker import execute
from benchmark.runs.policies import SCHEMA, policy_folder
from benchmark.runs.protocol import Protocol
from benchmark.runs.run import RunSpec

PROTOCOL = Protocol(steps=1, eval_every=1, eval_episodes=2, eval_first=False, log_every=1, checkpoint_every=1)
BIAS = "params/flow/mlp/dense_1/bias"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    settings = dict(hidden=(8,), batch_size=8, chunk_length=2, flow_steps=2)
    spec = RunSpec("bc", "toy-modes", (0, 3), settings, PROTOCOL, str(tmp_path_factory.mktemp("kept")))
    execute(spec, quiet=True)
    return spec.path


@pytest.fixture
def policy(kept, tmp_path):
    return shutil.copytree(policy_folder(kept, 3), tmp_path / "seed-3")


def card(**values):
    """A change of a card."""

    def change(folder):
        path = folder / "card.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def hyperparameters(**values):
    def change(folder):
        known = json.loads((folder / "card.json").read_text())["hyperparameters"]
        card(hyperparameters=known | values)(folder)

    return change


def arrays(change):
    """A change of the arrays, in a whole file."""

    def apply(folder):
        path = folder / "parameters.safetensors"
        save_file(change(load_file(path)), path)

    return apply


def header(change):
    """A change of what names and places the arrays."""

    def apply(folder):
        path = folder / "parameters.safetensors"
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        made = json.dumps(change(json.loads(content[8 : 8 + length]))).encode()
        path.write_bytes(len(made).to_bytes(8, "little") + made + content[8 + length :])

    return apply


def content(change):
    def apply(folder):
        path = folder / "parameters.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return apply


def pipe(folder):
    (folder / "parameters.safetensors").unlink()
    os.mkfifo(folder / "parameters.safetensors")


def sparse(folder):
    """A file of four gigabytes that takes no room on the disk, one array of zeros."""
    made = json.dumps({BIAS: {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}).encode()
    path = folder / "parameters.safetensors"
    path.write_bytes(len(made).to_bytes(8, "little") + made)
    os.truncate(path, 8 + len(made) + 2**32)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "card.json").unlink(), "holds no policy: it has no card.json"),
        (lambda folder: (folder / "card.json").write_text('{"schema": 1'), "card.json: not JSON"),
        (card(schema=SCHEMA + 1), f"schema is {SCHEMA + 1}, newer than {SCHEMA}, the newest that is known here"),
        (card(agent="rqll"), "is a policy of 'rqll', which is no agent of this repository"),
        (card(seed=4), "seed 4 and seeds .* are not whole numbers of 32 bits, the one among the others"),
        (card(task="toy-mode"), "unknown task 'toy-mode'"),
        (card(task="cube-single-play-singletask-task1-v0"), "acts on observations of 2 numbers .* has 28 and 5"),
        (card(sizes=[2, 10**9]), "sizes are .*, not two whole numbers from 1 to 1,000,000"),
        (card(sizes=[3, 2]), "acts on observations of 3 numbers"),
        (card(extra={"pool": ["float32", 2**40]}), "extra: pool is .*, not a type and sizes that an array can have"),
        (card(extra={"pool": ["object"]}), "extra: pool is .*, not a type"),
        (card(code={"bc.py": 3}), "code or left_out holds something that is no text"),
        (hyperparameters(hiden=[8]), "card.json: agent 'bc' has no hyperparameter 'hiden'"),
        (hyperparameters(hidden=[10**7, 10**7]), "card.json: bc: hidden .* need at least .* GB"),
        (hyperparameters(hidden=[1] * 10**5), "hidden has 100,000 numbers, at most 1,000 are allowed"),
        (hyperparameters(hidden=[16]), r"is float32 of \(8,\), where the agent has float32 of \(16,\)"),
        (lambda folder: (folder / "parameters.safetensors").unlink(), "parameters.safetensors: missing"),
        (pipe, "parameters.safetensors: not a file"),
        (content(lambda whole: whole[:-7]), "not a whole safetensors file"),
        (content(lambda whole: whole[:5]), "not a whole safetensors file"),
        (content(lambda whole: b""), "not a whole safetensors file"),
        (content(lambda whole: whole[:-1] + b"?"), "not the file that card.json was written for"),
        (content(lambda whole: (2**60).to_bytes(8, "little") + whole[8:]), "begins with a header of 1,152,921,504"),
        (header(lambda made: made | {BIAS: made[BIAS] | {"data_offsets": [0, 2**50]}}), "not a whole safetensors file"),
        (header(lambda made: made | {BIAS: made[BIAS] | {"shape": [2**40, 2**40]}}), "not a whole safetensors file"),
        (header(lambda made: made | {BIAS: made[BIAS] | {"dtype": "object"}}), "not a whole safetensors file"),
        (arrays(lambda kept: kept | {BIAS: kept[BIAS].astype(np.float16)}), r"is float16 of \(4,\), where .* float32"),
        (arrays(lambda kept: kept | {"__code__": kept[BIAS]}), "__code__ is .*, where the agent has nothing"),
        (arrays(lambda kept: {BIAS: kept[BIAS]}), "is nothing, where the agent has float32"),
        (sparse, r"is float32 of \(1073741824,\), where the agent has|is nothing, where"),
    ],
)
def test_what_is_no_policy_is_told_in_a_line_before_anything_large_is_made(policy, damage, told):
    damage(policy)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=told) as error:
        load_policy(policy)(np.zeros(2))
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes: the compiler's own


def test_nothing_is_played_where_one_of_several_policies_cannot_be(policy, kept, tmp_path):
    other = shutil.copytree(policy_folder(kept, 0), tmp_path / "seed-0")
    content(lambda whole: whole[:-7])(policy)
    with pytest.raises(UserError, match=r"seed-3/parameters.safetensors: not a whole safetensors file"):
        evaluate_policies([tmp_path], Asked())
    assert not (other / FILE).exists()


def test_a_folder_without_policies_and_one_with_several_are_named(tmp_path, kept):
    with pytest.raises(UserError, match=f"{tmp_path} holds no policy"):
        load_policy(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} holds no policy"):
        evaluate_policies([tmp_path], Asked())
    with pytest.raises(UserError, match="there is no folder"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds 2 policies; choose one: policies/seed-0, policies/seed-3$"):
        load_policy(kept)
    assert load_policy(shutil.copytree(policy_folder(kept, 0), tmp_path / "one").parent).card.seed == 0
