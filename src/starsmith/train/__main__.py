"""Train on many GPUs: `torchrun --nproc-per-node N -m starsmith.train RECIPE [--resume]`."""

import argparse
import os
import sys

from starsmith.command import Parser
from starsmith.errors import StarsmithError
from starsmith.progress import Lines, Quiet
from starsmith.train.recipe import load
from starsmith.train.run import train


def main() -> int:
    """Train as one of the processes that `torchrun` has started; return its exit code."""
    parser = Parser(prog="python -m starsmith.train", description="Train a model, in one process or many.")
    parser.add_argument("recipe", metavar="RECIPE", help="the training recipe, a TOML file")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    try:
        given: argparse.Namespace = parser.parse_args()
        is_first = os.environ.get("RANK", "0") == "0"
        train(load(given.recipe), resume=given.resume, reporter=Lines() if is_first else Quiet())
    except StarsmithError as error:
        print(f"starsmith: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
