"""How a reasoner is trained: the config, and what of it fits which reasoner."""

from dataclasses import dataclass, replace
from typing import Annotated

from latent_rl.config import COUNT, DEPTH, NOT_NEGATIVE, SEED, SHARE, Range, check_fields, one_of
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.reasoners.base import ReasonerModule
from latent_rl.reasoners.feedforward import FeedForward
from latent_rl.reasoners.symbols import Symbols
from latent_rl.training.optim import OPTIMIZERS
from latent_rl.training.reward import MEAN_REWARDS
from latent_rl.training.targets import STEP_WEIGHTS, TARGETS

BATCHING_NAMES = ("episodes", "replacement")
LEAVES = ("halted", "solved")
ANSWERS = ("label", "nearest")
OPEN_TARGETS = ("dis", "edits", "mask")
"""Step targets that leave cells open."""
OBJECTIVE_NAMES = ("labels", "reward", "verified")
_OWN_OPTIONS = {
    "reward": ("reward", "entropy_weight", "num_samples"),
    "verified": ("search_every", "search_puzzles", "search_steps", "search_guesses", "answers_file"),
}
"""Options that act with one objective alone."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a reasoner is trained. Defaults are what measured best on 9x9 Sudoku."""

    task: str = "sudoku9x9-hard"
    """Name of the task, or a folder of puzzles."""
    num_train: Annotated[int | None, COUNT] = None
    """Base puzzles to draw from, the first of the training split; default: all of them."""
    num_batches: Annotated[int, COUNT] = 1000
    """Batches; every batch takes N_sup optimizer steps."""
    batch_size: Annotated[int, COUNT] = 64
    """Puzzles in a batch."""
    batching: Annotated[str, one_of(BATCHING_NAMES)] = "episodes"
    """Who is in a batch: "episodes" (the same puzzles from the first step to the last) or "replacement" (a puzzle
    leaves, see `leaves`, and a fresh one takes its slot)."""
    leaves: Annotated[str, one_of(LEAVES)] = "halted"
    """With batching "replacement", when a puzzle leaves: "halted" (the halting head says so, or after N_sup steps; so
    TRM and HRM train) or "solved" (its answer was right for two steps, or at a random age up to one that grows to
    `extended_depth` in the first `extended_from` of the run, so that what is hard to solve gets most of the steps)."""
    halt_exploration: Annotated[float, SHARE] = 0.1
    """Share of puzzles that must stay for a random number of steps in 2..N_sup; with batching "replacement"."""
    objective: Annotated[str, one_of(OBJECTIVE_NAMES)] = "labels"
    """What the reasoner is trained for: "labels" (the answers that puzzles come with), "reward" (the environment's
    reward of every step, which needs the rules alone) or "verified" (answers that a step policy finds and the verifier
    accepts)."""
    label_fraction: Annotated[float, SHARE] | None = None
    """Share of the training puzzles whose label is known; the others' labels are not read. Default: 1 with objective
    "labels", which trains on these puzzles alone, 0 with the others."""
    reward: Annotated[str, one_of(MEAN_REWARDS)] = "log"
    """Reward of a readout where the task is given by units: "log" (the log-probabilities that its rules hold) or
    "linear" (minus the expected number of violations); with objective "reward"."""
    entropy_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the readout's entropy in nats beside its reward; with objective "reward"."""
    num_samples: Annotated[int, Range(2, 1024)] = 16
    """Readouts that are drawn of every puzzle where the task does not know its mean reward; with objective "reward"."""
    search_every: Annotated[int, COUNT] = 250
    """Batches between searches for answers, until one finds nothing new; with objective "verified"."""
    search_puzzles: Annotated[int, COUNT] = 4096
    """Puzzles that a search tries at the most, of those without a known answer; with objective "verified"."""
    search_steps: Annotated[int, DEPTH] = 32
    """Steps of every start in a search; with objective "verified"."""
    search_guesses: Annotated[int, Range(0, 10_000)] = 4
    """Fresh starts with a guess that a search makes after a first one without; with objective "verified"."""
    answers_file: str | None = None
    """CSV of `latent-rl solve` with answers to training puzzles, which are known from the start if the verifier accepts
    them; with objective "verified"."""
    targets: Annotated[str, one_of(TARGETS)] = "final"
    """Step targets: "final" (the answer at every step), or a path to it: "dis" (cells appear in random order),
    "edits" (in a solver's order), "mask" or "replace" (random cells are hidden or wrong), "trajectories" (recorded)."""
    answers: Annotated[str, one_of(ANSWERS)] = "label"
    """Which answer is learned where a puzzle has several: "label" (the one that it came with, or that was found) or
    "nearest" (at every step the one that the readout makes most likely, or one near it where they are found by search);
    with targets "final", and objective "labels" or "verified"."""
    corruption: Annotated[float, Range(0, 1, open_low=True)] | None = None
    """beta_1, the share of the answer that a path's first target lacks; falls linearly to 0. Default: 1 - 1/N_sup."""
    trajectories: str | None = None
    """JSONL file of recorded paths, whose puzzles are trained on; with targets "trajectories"."""
    step_weights: Annotated[str, one_of(STEP_WEIGHTS)] = "linear"
    """Weights of the steps' losses: "linear" (rising) or "uniform"."""
    dual_weight: Annotated[float, NOT_NEGATIVE] = 0.0
    """Weight of the anchor of the reference logits to the target of the step before."""
    halt_weight: Annotated[float, NOT_NEGATIVE] = 0.5
    """Weight of the halting head's loss; 0 leaves it untrained."""
    continue_target: bool = False
    """Train the value of another step, too, on the next step's halting values, and halt where halting has the higher
    value (HRM's Q-halting); costs a second forward pass in each step and needs a reasoner with a continue head."""
    optimizer: Annotated[str, one_of(OPTIMIZERS)] = "muon"
    """"muon" (Muon on the blocks' matrices, AdamW on the rest) or "adamw"."""
    lr: Annotated[float, NOT_NEGATIVE] = 2e-3
    """Peak learning rate of AdamW."""
    muon_lr: Annotated[float, NOT_NEGATIVE] = 2.5e-3
    """Peak learning rate of Muon."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.1
    """Decoupled weight decay."""
    puzzle_lr: Annotated[float, NOT_NEGATIVE] = 1e-2
    """Peak learning rate of the puzzle embeddings' sign-SGD: how far each entry of a row moves in one step."""
    puzzle_weight_decay: Annotated[float, NOT_NEGATIVE] = 0.1
    """Decoupled weight decay of the puzzle embeddings in the batch."""
    warmup_steps: Annotated[int, Range(0, 10**9)] = 200
    """Optimizer steps of linear warm-up."""
    ema: Annotated[float, SHARE] = 0.999
    """Decay of the average of weights that is evaluated and saved."""
    extended_depth: Annotated[int, DEPTH] = 64
    """Steps up to which the reasoner should stay good; batches beyond N_sup start with steps without gradient."""
    extended_fraction: Annotated[float, SHARE] = 0.35
    """Share of batches with extended depth; none with batching "replacement" or without recursion."""
    extended_from: Annotated[float, SHARE] = 0.3
    """Share of the run after which they begin."""
    reveal_fraction: Annotated[float, SHARE] = 0.15
    """Share of examples that show a random part of their answer as givens."""
    midway_fraction: Annotated[float, SHARE] = 0.1
    """Share of batches in which such givens appear in the middle of the recursion (this teaches commits); none with
    batching "replacement"."""
    seed: Annotated[int, SEED] = 0
    """Seeds the weights and, with the batch's number, every batch."""
    validate_every: Annotated[int, COUNT] = 250
    """Batches between validations."""
    num_validation: Annotated[int, COUNT] = 256
    """Validation puzzles."""
    validation_steps: Annotated[int, DEPTH] = 24
    """Supervision steps at validation."""
    save_every: Annotated[int, COUNT] = 50
    """Batches between saves for --resume."""

    def __post_init__(self) -> None:
        """Check types, ranges, names, and what goes together."""
        check_fields(self)
        for kind, name, known in (
            ("batching", self.batching, BATCHING_NAMES),
            ("leaves", self.leaves, LEAVES),
            ("answers", self.answers, ANSWERS),
            ("targets", self.targets, TARGETS),
            ("reward", self.reward, MEAN_REWARDS),
            ("step_weights", self.step_weights, STEP_WEIGHTS),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        self._check_objective()
        for name, needs_halting in (
            ('batching "replacement" and leaves "halted"', self.batching == "replacement" and self.leaves == "halted"),
            ("continue_target", self.continue_target),
        ):
            if needs_halting and self.halt_weight <= 0:
                raise InvalidValueError(
                    f"TrainConfig.halt_weight must be positive with {name}, which needs a trained halting head; got"
                    f" {self.halt_weight}."
                )
        if self.answers != "label" and self.targets != "final":
            raise InvalidValueError(
                f'TrainConfig.answers "{self.answers}" needs targets "final": a path leads to one answer; got'
                f" {self.targets!r}."
            )
        if self.batching != "replacement" and self.leaves != "halted":
            raise InvalidValueError(
                f'TrainConfig.leaves acts with batching "replacement" alone; got {self.leaves} with {self.batching!r}.'
            )
        if self.batching != "replacement" and self.halt_exploration != TrainConfig.halt_exploration:
            raise InvalidValueError(
                'TrainConfig.halt_exploration acts with batching "replacement" alone; got'
                f" {self.halt_exploration} with {self.batching!r}."
            )
        if (self.targets == "trajectories") != (self.trajectories is not None):
            raise InvalidValueError(
                'TrainConfig.trajectories must name a file exactly if targets is "trajectories"; got'
                f" {self.trajectories} with targets {self.targets!r}."
            )

    @property
    def label_share(self) -> float:
        """`label_fraction`, or the objective's default."""
        return float(self.objective == "labels") if self.label_fraction is None else self.label_fraction

    def _check_objective(self) -> None:
        if self.objective == "labels" and self.label_share == 0:
            raise InvalidValueError(
                'TrainConfig.label_fraction must be above 0 with objective "labels"; got 0. Choose objective "reward"'
                ' or "verified".'
            )
        is_own = self.objective not in OBJECTIVE_NAMES  # the user's, which may use every option
        for objective, names in _OWN_OPTIONS.items():
            changed = [name for name in names if getattr(self, name) != getattr(TrainConfig, name)]
            if changed and not is_own and objective != self.objective:
                raise InvalidValueError(
                    f'TrainConfig.{changed[0]} acts with objective "{objective}" alone; got'
                    f" {getattr(self, changed[0])} with {self.objective!r}."
                )
        if self.objective != "labels" and self.targets != "final":
            raise InvalidValueError(
                f'TrainConfig.objective "{self.objective}" needs targets "final", as there is no label to lead to; got'
                f" {self.targets!r}."
            )
        if self.objective == "reward" and self.answers != "label":
            raise InvalidValueError(
                'TrainConfig.answers acts with the objectives "labels" and "verified" alone, as a reward pays for any'
                f" right answer; got {self.answers!r}."
            )


def suited(config: TrainConfig, reasoner: ReasonerModule) -> TrainConfig:
    """Return the config as it applies to the reasoner: what has no meaning for the two is turned off.

    Extended depth and givens in the middle need batches whose puzzles are all of the same age; a network without
    recursion has nothing to extend, and nothing to validate after its first step.

    Raises:
        InvalidValueError: what has no meaning was asked for, or the reasoner can't be trained in this way.
    """
    if config.continue_target and not getattr(reasoner.config, "continue_head", False):
        raise InvalidValueError(
            "TrainConfig.continue_target needs a reasoner whose config has continue_head; this one has no such head."
        )
    if config.targets in OPEN_TARGETS and isinstance(reasoner, Symbols) and not reasoner.config.has_background:
        raise InvalidValueError(
            'TrainConfig.targets must be "final" or "replace" with a symbol network on this task, as its answer leaves'
            f" no cell open; got {config.targets!r}."
        )
    if config.batching == "replacement":
        if reasoner.num_supervision_steps < 2:
            raise InvalidValueError(
                'TrainConfig.batching "replacement" needs a reasoner of at least 2 supervision steps; got'
                f' {reasoner.num_supervision_steps}. Train it with batching "episodes".'
            )
        case, off = 'batching "replacement"', {"extended_fraction": 0.0, "midway_fraction": 0.0}
    elif isinstance(reasoner, FeedForward):
        case, off = "a reasoner without recursion", {"extended_fraction": 0.0, "validation_steps": 1}
    else:
        return config
    for name, value in off.items():
        if getattr(config, name) not in (value, getattr(TrainConfig, name)):
            raise InvalidValueError(
                f"TrainConfig.{name} must be {value} with {case}; got {getattr(config, name)}. Leave it out."
            )
    return replace(config, **off)  # type: ignore[arg-type]
