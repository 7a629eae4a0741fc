"""One archive for a machine without internet: `python -m benchmark.bundle --for=cpu --out=rql-bundle.tar`.

It holds wheels of the pinned packages, the repository at its commit, and the datasets that are named; `install.sh` in
it makes the environment without a network. Data that the suites quickstart and small generate need nothing more.

--for=additions  for a machine that has JAX, flax, optax, orbax, numpy, scipy, pandas and seaborn: what it lacks
--for=cpu        all packages
--for=cuda       all packages, and those of CUDA (gigabytes)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.common.errors import check_choice, run_main
from benchmark.common.options import Parser, input_folder, names, output_file


def parser() -> Parser:
    """The command line's options."""
    assert __doc__ is not None
    parser = Parser(
        prog="python -m benchmark.bundle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--for", dest="kind", default="cpu", help="additions, cpu (default) or cuda: see above")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", default=here, help=f"the machine's version of Python (default: {here}, as here)")
    parser.add_argument("--datasets", help="datasets to take along, separated by commas, e.g. scene-play-v0")
    parser.add_argument("--data-dir", help="the folder that has them (default: $RQL_DATA_DIR or ~/.ogbench/data)")
    parser.add_argument("--out", default="rql-bundle.tar", help="the archive (default: rql-bundle.tar)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = parser().parse_args(arguments)
    from benchmark.bundling.archive import Asked, data_files, make_bundle, python_version
    from benchmark.bundling.wheels import KINDS
    from envs.files.local import data_folder

    kind, python = check_choice("kind of bundle", options.kind, KINDS), python_version(options.python)
    out = output_file("--out", options.out)
    data: list[Path] = []
    if options.data_dir:
        input_folder("--data-dir", options.data_dir)
    if options.datasets:
        data = data_files(data_folder(options.data_dir), names("--datasets", options.datasets))
    make_bundle(Asked(kind, python, data, out))
    return 0


if __name__ == "__main__":
    run_main(main)
