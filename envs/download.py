"""Fetch datasets; what is there already is left as it is.

    python -m envs.download --suite=ogbench [--data-dir=DIR] [--base=URL ...]
    python -m envs.download --dataset cube-double-play puzzle-4x4-play-100m

Several processes that ask together fetch a file once; one that is cut off goes on (`envs.files.fetching`).
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.common.errors import UserError, check_choice, run_main
from benchmark.common.options import Parser
from envs.files.fetching import BASES_VARIABLE, DEFAULT_BASES, base_addresses, download
from envs.files.local import DATA_DIR_VARIABLE, DEFAULT_DATA_DIR, data_folder, dataset_named, missing
from envs.tasks import SUITE_TASKS, SUITES_OF_MADE_DATA, get_domain


def parser() -> Parser:
    """The command line's options."""
    parser = Parser(
        prog="python -m envs.download", description="Fetch datasets; what is there already is left as it is."
    )
    parser.add_argument("--suite", help="every dataset of a suite, e.g. ogbench")
    parser.add_argument("--domain", nargs="+", default=[], metavar="NAME", help="what its tasks use")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="e.g. cube-double-play[-v0]")
    parser.add_argument("--data-dir", help=f"default ${DATA_DIR_VARIABLE}, else {DEFAULT_DATA_DIR}")
    parser.add_argument(
        "--base",
        action="append",
        metavar="URL",
        help=f"source, repeat for several in order; default ${BASES_VARIABLE}, else {' '.join(DEFAULT_BASES)}",
    )
    parser.add_argument("--validation", action="store_true", help="also the held-out -val files")
    parser.add_argument("--dry-run", action="store_true", help="print what is missing and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and fetch what it names."""
    options = parser().parse_args(arguments)
    names = [*map(dataset_named, options.dataset), *(get_domain(name).dataset for name in options.domain)]
    if options.suite is not None:
        suite = check_choice("suite", options.suite, SUITE_TASKS)
        if suite in SUITES_OF_MADE_DATA:
            raise UserError(f"suite '{suite}' makes its own data, there is nothing to download")
        names += [task.dataset for task in SUITE_TASKS[suite]]
    if not names:
        raise UserError("nothing to fetch: give --suite, --domain or --dataset")
    base_addresses(options.base)
    if options.dry_run:
        for file, size in missing(names, options.data_dir, options.validation):
            print(f"{file}  {'size unknown' if size is None else f'about {size / 1e6:.0f} MB'}")
        return 0
    download(names, options.data_dir, options.base, options.validation)
    print(f"all here: {data_folder(options.data_dir)}")
    return 0


if __name__ == "__main__":
    run_main(main)
