"""The command line: `latent-rl`, or `python -m latent_rl`."""

import sys


def main() -> None:
    """Run the command line; exit status 2 and one line for a user's mistake."""
    from latent_rl import cli

    sys.exit(cli.run())


if __name__ == "__main__":
    main()
