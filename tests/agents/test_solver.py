"""The solver: continuous batching equals one puzzle at a time; order, bounds, laziness; no label is used."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from helpers import TASK, Clockwork, random_core
from torch import Tensor

from latent_rl.agents.baselines import BASELINES, Untuned, make_baseline
from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.policy import StepPolicy
from latent_rl.agents.rules import (
    RandomPolicy,
    RulePolicy,
    best_of_steps,
    fixed_steps,
    guessing_rule,
    halting,
    is_valid,
    least_confidence,
    two_threshold_rule,
)
from latent_rl.agents.sb3.agents import AGENTS, LearnedPolicy, make_agent
from latent_rl.agents.solver import Solutions, Solver
from latent_rl.envs.core import Core
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import episode_keys
from latent_rl.reasoners.checkpoint import load_reasoner
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

BASE = TASK.puzzles("test")[:15]
EXACT = ("inputs", "answers", "solved", "steps", "passes", "restarts")
ROUNDED = ("confidence", "returns")


def clockwork_core(needed: list[int], **arguments: object) -> Core:
    """Test puzzle i is solved, and surely so, after needed[i] steps."""
    inputs = TASK.puzzles("test").inputs
    times = {row.numpy().tobytes(): steps for row, steps in zip(inputs, needed, strict=False)}
    return Core(TASK, Clockwork(TASK, times), **{"horizon": 40, "split": "test", "reward": "sparse", **arguments})


def sure(core: Core, confidence: float = 0.9) -> RulePolicy:
    """Halts when the least confident cell is."""
    return halting(core, "threshold", least_confidence, confidence)


class OddKeys:
    """Takes any action, from an episode's own key and step: so every path through the dynamics is met."""

    name, submit = "odd", None

    def __init__(self, core: Core) -> None:
        self.count = len(core.mode.actions)

    def act(self, observation: np.ndarray, state: State) -> np.ndarray:
        return ((state.keys + 5 * state.step).abs() % self.count).numpy()


def plain_loop(core: Core, policy: StepPolicy, puzzles: Puzzles, seed: int) -> Solutions:
    """What the solver must equal: every puzzle alone, one after the other."""
    rows, core = [], core if policy.submit is None else core.submitting(policy.submit)
    for place in range(len(puzzles)):
        key = episode_keys(torch.tensor([place]), seed)
        state, ended, total = core.begin(puzzles.select(torch.tensor([place])), key), False, 0.0
        while not ended:
            actions = policy.act(core.observe(state).numpy(), state)
            transition = core.step(state, core.mode.decode(torch.as_tensor(actions)))
            state, ended = transition.state, bool(transition.terminated[0])
            total += float(transition.reward[0])
        rows.append(
            Solutions(
                inputs=state.puzzles.inputs,
                answers=state.submission,
                solved=core.task.verify(state.puzzles.inputs, state.submission),
                steps=state.step,
                passes=state.passes,
                restarts=state.restarts,
                confidence=state.confidence,
                returns=torch.tensor([total], dtype=torch.float64),
            )
        )
    return rows[0].concat(*rows[1:])


def assert_equal(one: Solutions, other: Solutions) -> None:
    for name in EXACT:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ROUNDED:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=0)


def learned(name: str, core: Core) -> LearnedPolicy:
    """A new agent without its preference for refine, with all else exaggerated, of a seed that decides variedly."""
    model = make_agent(name, core, seed={"ppo": 4, "operator": 4, "dqn": 21}[name])
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter *= 10 if parameter.ndim == 2 else 0
    return LearnedPolicy(name, model)


POLICIES = {
    "fixed": lambda core: fixed_steps(core.mode, 3),
    "best-of": lambda core: best_of_steps(core.mode, 3),
    "at once": lambda core: fixed_steps(core.mode, 0),
    "threshold": lambda core: sure(core, 0.37),
    "rule": lambda core: two_threshold_rule(core, 0.37, 2),
    "verifier": lambda core: halting(core, "verifier", is_valid, 0.5),
    "guesses": lambda core: guessing_rule(core, 0.37, 2, 1),
    "random": lambda core: RandomPolicy(core.mode),
    "odd": OddKeys,
    **{name: (lambda core, name=name: learned(name, core)) for name in AGENTS},
}
TABLE = (
    "halt",
    "refine",
    "restart_view",
    "deep",
    "perturb",
    "commit_forced",
    "refine_w0.5",
    "restart_noise",
    "restart_guess",
)


@pytest.mark.parametrize("name", POLICIES)
def test_equal_to_one_puzzle_at_a_time_whatever_the_batch(name: str) -> None:
    core = random_core(horizon=6, actions={"odd": TABLE, "random": TABLE, "guesses": "search"}.get(name, "refine"))
    policy = POLICIES[name](core)
    expected = plain_loop(core, policy, BASE, seed=4)
    if name not in ("fixed", "best-of", "at once", "verifier"):
        assert len(expected.steps.unique()) > 2, "episodes must end at different times, or this shows nothing"
    for batch_size, window in ((1, None), (5, 5), (5, None), (len(BASE), None), (64, None)):
        assert_equal(Solver(core, policy, batch_size, seed=4, window=window).solve(BASE), expected)


def test_the_seed_decides_the_views() -> None:
    core = random_core(horizon=6)
    rule = two_threshold_rule(core, 0.37, 2)
    one, other = (Solver(core, rule, seed=seed).solve(BASE) for seed in (4, 5))
    assert one.restarts.max() > 0
    assert not torch.equal(one.answers, other.answers)


def test_an_evaluation_is_the_solvers_loop() -> None:
    core = random_core(horizon=6)
    rule = two_threshold_rule(core, 0.37, 2)
    expected = plain_loop(core, rule, BASE, seed=2)
    outcome = evaluate_policy(core, rule, BASE, seed=2, batch_size=4)
    for name in ("solved", "passes", "steps", "restarts"):
        np.testing.assert_array_equal(getattr(outcome, name), getattr(expected, name).numpy())
    np.testing.assert_allclose(outcome.returns, expected.returns.numpy(), atol=1e-5)


@pytest.mark.parametrize("submit", ["best_confidence", "last", "verified"])
def test_no_label_is_used(submit: str) -> None:
    """Without labels, and with false ones, the same comes out; only the reward may tell."""
    core = random_core(horizon=6, submit=submit, reward="log_likelihood")
    false = Puzzles(BASE.inputs, BASE.labels.roll(1, 0))
    guessing = random_core(horizon=6, submit=submit, reward="log_likelihood", actions="search")
    for name in ("rule", "verifier", "odd", "ppo", "guesses"):
        chosen = guessing if name == "guesses" else core
        solver = Solver(chosen, POLICIES[name](chosen), 6, seed=1)
        right, misled = solver.solve(BASE), solver.solve(false)
        first, *others = solver.stream(BASE.inputs)
        for other in (misled, first.concat(*others)):
            for field in (*EXACT, "confidence"):
                assert torch.equal(getattr(right, field), getattr(other, field)), field
    assert not torch.equal(right.returns, misled.returns)


class Tape:
    """Puzzles that count how many have been taken."""

    def __init__(self, count: int) -> None:
        self.inputs, self.count, self.taken = TASK.puzzles("test").inputs, count, 0

    def __iter__(self) -> Iterator[Tensor]:
        for place in range(self.count):
            self.taken += 1
            yield self.inputs[place % len(self.inputs)]


def test_a_hard_puzzle_holds_up_the_results_but_not_the_memory() -> None:
    """The first puzzle never gets sure, all others at once: no more than the window is ever taken ahead."""
    core = clockwork_core([1000, *[1] * 299])
    tape = Tape(300)
    solver = Solver(core, sure(core), batch_size=4, window=20)
    places, most = [], 0
    for block in solver.stream(tape):
        most = max(most, tape.taken - len(places))
        places += block.inputs.tolist()
    assert most == 20
    assert places == [tape.inputs[place].tolist() for place in range(300)]


def test_who_halts_makes_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time follows the mean: while one puzzle takes 30 steps, others pass by it, and the batch is always full."""
    core = clockwork_core([30, *[1] * 59])
    sizes, step = [], core.reasoner.step

    def counting(inputs: Tensor, *args: object, **kwargs: object) -> object:
        sizes.append(len(inputs))
        return step(inputs, *args, **kwargs)

    monkeypatch.setattr(core.reasoner, "step", counting)
    solver = Solver(core, sure(core), batch_size=3, window=60)
    solutions = solver.solve(TASK.puzzles("test")[:60])
    assert solutions.steps.tolist() == [30] + [1] * 59
    assert sizes == [3] * 29 + [2]


def test_nothing_is_taken_before_there_is_room() -> None:
    core = clockwork_core([1] * 50)
    tape = Tape(10**9)
    results = Solver(core, sure(core), batch_size=4).stream(tape)
    assert tape.taken == 0
    received = 0
    for _ in range(5):
        received += len(next(results))
        assert tape.taken == received
    tape = Tape(10**9)
    one = Solver(core, sure(core), batch_size=1).stream(tape)
    for count in range(1, 6):
        assert len(next(one)) == 1
        assert tape.taken == count


def test_results_come_as_soon_as_they_are_known() -> None:
    core = clockwork_core([2, 5, 1, 1, 8])
    blocks = list(Solver(core, sure(core), batch_size=5).stream(BASE.inputs[:5]))
    assert [block.steps.tolist() for block in blocks] == [[2], [5, 1, 1], [8]]


def test_a_stream_goes_on_where_another_ended() -> None:
    """The randomness of a puzzle is of its place in the whole."""
    core = random_core(horizon=6)
    solver = Solver(core, RandomPolicy(core.mode), 4, seed=3)
    whole = solver.solve(Puzzles.unlabelled(BASE.inputs))
    first, *others = solver.stream(BASE.inputs[9:], first=9)
    assert_equal(first.concat(*others), whole.select(torch.arange(9, 15)))


@pytest.mark.slow
def test_a_compiled_reasoner_solves_as_the_eager_one_does() -> None:
    """Rounding in bf16 may move a few puzzles by a step; it costs no solutions."""
    puzzles = make_task("sudoku6x6").puzzles("test")[:400]
    found = []
    for compiled in (False, True):
        reasoner = load_reasoner("sudoku6x6")
        if compiled:
            reasoner.compile()
        core = Core("sudoku6x6", reasoner, horizon=16)
        found.append(Solver(core, two_threshold_rule(core, 0.9, 8)).solve(puzzles))
    eager, compiled_too = found
    assert (eager.answers == compiled_too.answers).all(1).float().mean() >= 0.99
    assert (eager.steps == compiled_too.steps).float().mean() >= 0.95
    assert abs(int(eager.solved.sum()) - int(compiled_too.solved.sum())) <= 1
    assert eager.solved.float().mean() > 0.98


def test_an_empty_stream_is_empty_and_no_puzzle_is_a_mistake() -> None:
    core = random_core()
    solver = Solver(core, RandomPolicy(core.mode))
    assert list(solver.stream([])) == []
    with pytest.raises(InvalidValueError, match="at least one puzzle"):
        solver.solve(BASE.select(torch.arange(0)))


def test_wrong_numbers_and_puzzles() -> None:
    core = random_core()
    policy = RandomPolicy(core.mode)
    with pytest.raises(InvalidValueError, match="batch_size must be at least 1; got 0"):
        Solver(core, policy, 0)
    with pytest.raises(InvalidValueError, match="window must be at least batch_size, 8; got 7"):
        Solver(core, policy, 8, window=7)
    for wrong in (BASE.inputs[0, :5], BASE.inputs[0].int(), BASE.inputs[:1]):
        with pytest.raises(InvalidValueError, match=r"must be int64 \[16\]"):
            list(Solver(core, policy).stream([wrong]))


def test_untuned_constants_are_candidates_and_the_rule_restarts_in_time() -> None:
    core = random_core(horizon=64)
    assert Untuned(8).constants(BASELINES["rule"]) == (0.9, 8)
    assert Untuned(40).constants(BASELINES["rule"]) == (0.9, 16)
    assert make_baseline(core, "fixed", Untuned(8)).name == "fixed-8"
    threshold = make_baseline(core, "threshold", Untuned(8))
    assert not threshold.halt(core.begin(BASE, episode_keys(torch.arange(len(BASE)), 0))).any()
