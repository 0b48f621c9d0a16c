"""Train and evaluate several agents on the same puzzles over several seeds; a report, and TensorBoard side by side.

The same as `latent-rl compare`. Run `python examples/compare_agents.py --help` for the options.
"""

import sys

import tyro

from latent_rl.agents.compare import Comparison
from latent_rl.errors import LatentRLError

if __name__ == "__main__":
    try:
        tyro.cli(Comparison, description=__doc__).run()
    except LatentRLError as error:
        print(f"compare_agents: {error}", file=sys.stderr)
        sys.exit(2)
