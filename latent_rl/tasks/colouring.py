"""Graph colouring: give every vertex a colour so that no edge joins two of the same."""

from collections.abc import Iterable
from types import MappingProxyType

import numpy as np
from torch import Tensor

from latent_rl.errors import InvalidValueError
from latent_rl.tasks.base import Splits
from latent_rl.tasks.constraints import Constraints, ConstraintTask, Kind

VERTICES_A_LINE = 10
HARD_DEGREE = {3: 4.4, 4: 8.0}
"""Mean degree of small random graphs just below the one where most stop having a colouring, by the number of colours.

Source: about 4.69 and 8.90 in the limit of large graphs (Krzakala, Pagnani, Weigt 2004).
"""


class Colouring(ConstraintTask):
    """Colour the open vertices of one graph; some have their colour. Every proper colouring that keeps it is right.

    Args:
        name: the registered name; a shipped bank has the same.
        num_vertices: L.
        num_colours: S.
        edges: pairs of vertices.
        open_share: least and greatest share of open vertices in the bank's puzzles.
        has_one_answer: of the bank's puzzles: only vertices are open whose colour follows from the others.
        splits: gives the base puzzles; by default the shipped bank of that name.
    """

    is_unique = False
    environment = MappingProxyType({"horizon": 32, "reward": "constraints"})
    """Closeness to the colouring that is the label would punish the others."""

    def __init__(
        self,
        name: str,
        num_vertices: int,
        num_colours: int,
        edges: Iterable[tuple[int, int]],
        open_share: tuple[float, float] = (0.6, 0.9),
        has_one_answer: bool = True,
        splits: Splits | None = None,
    ) -> None:
        self.open_share, self.has_one_answer = open_share, has_one_answer
        self.edges = tuple((int(a), int(b)) for a, b in edges)
        rules = Constraints(num_vertices, num_colours, (Kind.of("edge", self.edges, exact=False),))
        super().__init__(name, rules, splits)

    def render(self, tokens: Tensor) -> str:
        """The vertices' colours, ten a line, after the number of the line's first vertex."""
        line = self.format(tokens)
        starts = range(0, len(line), VERTICES_A_LINE)
        return "\n".join(f"{start:>4}: {' '.join(line[start : start + VERTICES_A_LINE])}" for start in starts)


def random_edges(num_vertices: int, num_colours: int, seed: int) -> tuple[tuple[int, int], ...]:
    """Different edges of a random graph of the number of colours' `HARD_DEGREE`; whether it can be coloured is for a
    solver to tell.

    Raises:
        InvalidValueError: no degree is known for that number of colours, or there are too few vertices.
    """
    if num_colours not in HARD_DEGREE or num_vertices <= HARD_DEGREE[num_colours] + 1:
        raise InvalidValueError(
            f"a hard graph needs 3 or 4 colours and more vertices than its degree; got {num_colours} colours and"
            f" {num_vertices} vertices."
        )
    pairs = np.stack(np.triu_indices(num_vertices, 1), axis=1)
    count = round(HARD_DEGREE[num_colours] * num_vertices / 2)
    chosen = np.sort(np.random.default_rng(seed).choice(len(pairs), count, replace=False))
    return tuple((int(a), int(b)) for a, b in pairs[chosen])
