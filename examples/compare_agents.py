"""Train and evaluate several agents on the same puzzles over several seeds; a report, and TensorBoard side by side.

The same as `latent-rl compare`. Run `python examples/compare_agents.py --help` for the options.
"""

import sys

from latent_rl.agents.commands.compare import Comparison, main

if __name__ == "__main__":
    sys.exit(main(Comparison(), __doc__))
