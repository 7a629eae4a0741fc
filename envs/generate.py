"""Generate datasets with OGBench's oracles, in parallel, reproducibly, in OGBench's file format.

    python -m envs.generate --dataset=cube-single-play --transitions=100000 --seed=0

writes to `runs/data/` the training file `cube-single-play-v0.npz`, the validation file
`cube-single-play-v0-val.npz` (a tenth as many episodes), and beside each a `.json` that says what made it. The
files load through `ogbench.make_env_and_datasets(name, dataset_path=...)`; `envs.ogbench.generating` makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.common.errors import UserError, run_main
from benchmark.common.options import (
    MOST,
    MOST_JOBS,
    MOST_TRANSITIONS,
    Parser,
    folder,
    input_folder,
    output_file,
    whole_number,
)
from envs.ogbench.episodes import RECIPES, open_expert
from envs.ogbench.generating import MOST_SHARDS, generate, generate_shards

DEFAULT_DIR = Path("runs/data")
SHARDS_100M = 100
MOST_STEPS = 1_000_000  # of an episode


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m envs.generate",
        description="Generate a dataset with OGBench's oracles.",
        epilog=f"datasets: {', '.join(RECIPES)}",
    )
    parser.add_argument("--dataset", required=True, help="e.g. cube-single-play")
    parser.add_argument("--transitions", help="training transitions (default: as many as published)")
    parser.add_argument("--seed", default="0")
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_DIR, help="folder, or file ending in .npz (default: runs/data)"
    )
    parser.add_argument("--workers", help="processes (default: one for each core)")
    parser.add_argument("--episode-length", help="rows per episode (default: as published)")
    parser.add_argument("--shards", help="number of files, for the form of the 100M datasets")
    parser.add_argument("--transitions-per-shard", help="with --shards (default: 1000 episodes, as published)")
    parser.add_argument("--expert", help="folder of the expert that walks (default: results/experts/BODY)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that was made otherwise")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    args = parser().parse_args(arguments)
    bounds = dict(transitions=(1, MOST_TRANSITIONS), seed=(0, MOST), workers=(1, MOST_JOBS))
    bounds |= dict(episode_length=(2, MOST_STEPS), shards=(1, MOST_SHARDS), transitions_per_shard=(1, MOST_TRANSITIONS))
    for name, (low, high) in bounds.items():
        if (text := getattr(args, name)) is not None:
            setattr(args, name, whole_number(name.replace("_", " "), text, low, high))
    dataset, shards = args.dataset.removesuffix("-v0"), args.shards
    if dataset.endswith("-100m"):
        dataset, shards = dataset.removesuffix("-100m"), shards or SHARDS_100M
    expert = None if args.expert is None else input_folder("--expert", args.expert)
    common: dict[str, Any] = dict(workers=args.workers, episode_length=args.episode_length)
    common |= dict(overwrite=args.overwrite, expert=expert)
    if open_expert(dataset, expert) is None and expert:
        raise UserError(f"--expert is for mazes in which a body walks, not for '{dataset}'")
    is_file = args.out.suffix == ".npz"
    (output_file if is_file else folder)("--out", args.out)
    if shards is not None:
        if args.transitions is not None:
            raise UserError("--transitions is for a single file; with shards pass --transitions-per-shard")
        if is_file:
            raise UserError(f"with shards --out is a folder, got the file '{args.out}'")
        written = generate_shards(dataset, shards, args.transitions_per_shard, args.seed, args.out, **common)
    else:
        if args.transitions_per_shard is not None:
            raise UserError("--transitions-per-shard needs --shards")
        path = args.out if is_file else args.out / f"{dataset}-v0.npz"
        written = generate(dataset, args.transitions, args.seed, path, **common)
    print(written)


if __name__ == "__main__":
    run_main(main)
