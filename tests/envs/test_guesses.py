"""The action `restart_guess`: one cell of the last readout of the puzzle itself, written as if it was given."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from helpers import TASK, random_core, random_reasoner, random_symbols

from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.envs.actions import Action, Decision, make_action
from latent_rl.envs.config import EnvConfig
from latent_rl.envs.core import Core
from latent_rl.envs.observations import SEARCH, make_feature
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.guess import SURE, can_guess, drawn_guess
from latent_rl.improvement import log_softmax
from latent_rl.tasks.base import Task
from latent_rl.tasks.labelled import TokenTask
from latent_rl.tasks.maze.task import PATH, Maze
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

TABLE = ("halt", "refine", "restart_guess", "restart_view", "commit_reset")
BASE = TASK.puzzles("test")[:24]
KEYS = torch.arange(24) + 7


def core(**changes: Any) -> Core:
    return random_core(**{"reasoner": random_symbols(), "horizon": 12, "actions": TABLE, **changes})


def run(core: Core, *names: str) -> list[State]:
    """The states after each of the actions, which all episodes take."""
    states = [core.begin(BASE, KEYS)]
    for name in names:
        states.append(core.step(states[-1], Decision.of([make_action(name)] * len(KEYS))).state)
    return states[1:]


def shown(state: State) -> torch.Tensor:
    """What the reasoner is shown, in the puzzles' own view."""
    return state.view.invert(state.inputs)


@pytest.mark.parametrize("before", [["refine", "refine"], ["refine", "restart_view", "refine"]])
def test_one_open_cell_holds_a_token_of_the_readout(before: list[str]) -> None:
    """Whatever view the readout was in, and whatever view the guess is shown in."""
    live = core()
    *_, last, guessed = run(live, *before, "restart_guess")
    differs = shown(guessed) != BASE.inputs
    assert differs.sum(1).tolist() == [1] * 24
    rows, cells = differs.nonzero(as_tuple=True)
    assert not TASK.is_given(BASE.inputs)[rows, cells].any()
    _, output = live.reasoner.step(last.inputs, run(live, *before[:-1])[-1].carry, last.age - 1)
    seen = log_softmax(TASK.constrain(last.inputs, output.conditional_logits))
    own = last.view.invert_logits(seen)
    torch.testing.assert_close(last.guesses.log_probs, own, atol=1e-3, rtol=1e-3)
    said = last.guesses.log_probs[rows, cells].exp()
    unsure = ~TASK.is_given(BASE.inputs) & (last.guesses.log_probs.amax(-1).exp() < SURE)
    assert torch.equal(said.amax(1) < SURE, unsure.any(1))
    assert unsure.any(1).float().mean() > 0.9
    torch.testing.assert_close(guessed.guesses.probability, said[rows, shown(guessed)[rows, cells]])
    assert (guessed.age == 1).all()
    assert (guessed.restarts == last.restarts + 1).all()
    assert (guessed.guesses.count == 1).all()
    assert torch.equal(guessed.puzzles.inputs, BASE.inputs)


def test_guesses_are_taken_back_and_the_memory_stays_that_of_the_puzzle_itself() -> None:
    first, second, refined, plain = run(core(), "refine", "restart_guess", "refine", "restart_view")
    again = run(core(), "refine", "restart_guess", "restart_guess")[-1]
    for state in (second, refined, again):
        assert ((shown(state) != BASE.inputs).sum(1) == 1).all()
        assert torch.equal(state.guesses.log_probs, first.guesses.log_probs)
        assert torch.equal(state.guesses.entropies, first.guesses.entropies)
    assert torch.equal(shown(second), shown(refined))
    assert (shown(second) != shown(again)).any(1).float().mean() > 0.7
    assert (again.guesses.count == 2).all()
    assert torch.equal(shown(plain), BASE.inputs)
    assert not plain.guesses.probability.any()
    assert (plain.guesses.count == 1).all()
    assert not torch.equal(plain.guesses.log_probs, first.guesses.log_probs)


def test_symbols_are_drawn_by_their_probabilities() -> None:
    """Many draws from one readout: the cells that are not sure equally often, their symbols as it says."""
    inputs = torch.ones(1, 16, dtype=torch.int64)
    logits = torch.full((1, 16, TASK.vocab_size), -20.0)
    logits[..., 2] = 20.0
    logits[0, 3, 2:4] = torch.tensor([0.75, 0.25]).log()
    logits[0, 9] = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.5, 0.5]).log().clamp(min=-20.0)
    log_probs = log_softmax(logits).expand(8000, -1, -1)
    guess = drawn_guess(TASK, inputs.expand(8000, -1), log_probs, torch.arange(8000))
    assert set(guess.cell.tolist()) == {3, 9}
    assert (guess.cell == 3).float().mean() == pytest.approx(0.5, abs=0.03)
    assert (guess.token[guess.cell == 3] == 2).float().mean() == pytest.approx(0.75, abs=0.03)
    assert (guess.token[guess.cell == 9] == 4).float().mean() == pytest.approx(0.5, abs=0.03)
    assert guess.probability[guess.token == 2].mean() == pytest.approx(0.75, abs=1e-4)
    alone = drawn_guess(TASK, inputs, log_probs[:1], torch.tensor([77]))
    assert (alone.cell, alone.token) == (guess.cell[77], guess.token[77])


def test_where_nothing_is_unsure_a_sure_cell_is_guessed_and_a_full_board_stays() -> None:
    sure = log_softmax(TASK.constrain(BASE.inputs, 20 * torch.nn.functional.one_hot(BASE.labels, TASK.vocab_size)))
    guess = drawn_guess(TASK, BASE.inputs, sure, KEYS)
    assert (guess.token == BASE.labels.gather(1, guess.cell[:, None])[:, 0]).all()
    assert (guess.written_into(BASE.inputs) != BASE.inputs).sum(1).tolist() == [1] * 24
    full = drawn_guess(TASK, BASE.labels, sure, KEYS)
    assert torch.equal(full.written_into(BASE.labels), BASE.labels)
    assert not full.probability.any()


@pytest.mark.parametrize("task", [Maze(5), make_task("nqueens8")], ids=lambda task: task.name)
def test_where_an_answer_may_leave_cells_open_only_what_counts_as_given_is_guessed(task: Task) -> None:
    inputs = task.puzzles("test").inputs[:20]
    readout = log_softmax(task.constrain(inputs, torch.zeros(*inputs.shape, task.vocab_size)))
    guessed = drawn_guess(task, inputs, readout, torch.arange(20)).written_into(inputs)
    rows, cells = (guessed != inputs).nonzero(as_tuple=True)
    assert rows.tolist() == list(range(20))
    assert task.is_given(guessed)[rows, cells].all()
    if isinstance(task, Maze):
        assert (guessed[rows, cells] == PATH).all()


def test_before_the_first_step_it_is_masked_and_guesses_nothing() -> None:
    live = core()
    start = live.begin(BASE, KEYS)
    assert live.mask(start)[0].tolist() == [False, True, False, False, False]
    (first,) = run(live, "restart_guess")
    assert torch.equal(first.inputs, BASE.inputs)
    assert not first.guesses.count.any()
    assert live.mask(first)[0].tolist() == [True] * 5


def test_a_guess_is_judged_by_the_puzzle_itself() -> None:
    """A board that holds the guess and breaks the puzzle's rules is not solved; the answer is the puzzle's."""
    live = core()
    state = run(live, "refine", "restart_guess")[-1]
    transition = live.step(state, Decision.of([make_action("halt")] * 24))
    assert torch.equal(transition.solved, TASK.verify(BASE.inputs, state.submission))
    given = TASK.is_given(BASE.inputs)
    assert torch.equal(state.submission[given], BASE.inputs[given])


def test_rows_do_not_touch_each_other_and_every_door_opens_on_the_same() -> None:
    live = core(observation="search")
    states = run(live, "refine", "restart_guess", "refine")
    some = torch.tensor([3, 11])
    alone = live.begin(BASE.select(some), KEYS[some])
    for name, together in zip(("refine", "restart_guess", "refine"), states, strict=True):
        alone = live.step(alone, Decision.of([make_action(name)] * 2)).state
        assert torch.equal(alone.inputs, together.inputs[some])
        torch.testing.assert_close(live.observe(alone), live.observe(together)[some], atol=1e-4, rtol=1e-4)
    arguments: dict[str, Any] = {"task": TASK, "reasoner": random_symbols(), "actions": "search"}
    arguments |= {"observation": "search", "horizon": 12}
    single = gym.make("LatentReasoning-v0", **arguments)
    seen = [single.reset(seed=3)[0], *(single.step(action)[0] for action in (1, 1, 2, 1, 2))]
    for env in (gym.make_vec("LatentReasoning-v0", num_envs=3, **arguments), LatentVecEnv(Core(**arguments), 3)):
        if isinstance(env, LatentVecEnv):
            env.seed(3)
            others = [env.reset()]
        else:
            others = [env.reset(seed=3)[0]]
        others += [env.step(np.full(3, action))[0] for action in (1, 1, 2, 1, 2)]
        np.testing.assert_allclose([other[0] for other in others], seen, atol=1e-4)
    guesses, probability, _ = seen[5][-3:]
    assert guesses == 2 / 8
    assert 0 < probability < 1


def test_observations_of_guesses() -> None:
    live = core()
    plain = run(live, "refine", "refine", "refine")
    entropy = torch.stack([state.measured.of("mean_entropy")[:, 0] for state in plain], dim=1)
    guessed = run(live, "refine", "refine", "refine", "restart_guess", "refine", *["refine"] * 3)[3:]
    lead = make_feature("entropy_lead")
    for state in plain:
        assert not torch.cat([feature.of(TASK, state) for feature in SEARCH], dim=1).any()
    for index, state in enumerate(guessed):
        expected = entropy[:, min(index, 2)] - state.measured.of("mean_entropy")[:, 0]
        torch.testing.assert_close(lead.of(TASK, state)[:, 0], expected)
    assert make_feature("guesses").of(TASK, guessed[0]).unique().tolist() == [1 / 8]
    without = random_core().begin(BASE, KEYS)
    assert not torch.cat([feature.of(TASK, without) for feature in SEARCH], dim=1).any()


def test_tables_that_do_not_guess_remember_nothing() -> None:
    live = random_core()
    state = live.step(live.begin(BASE, KEYS), Decision.of([make_action("refine")] * 24)).state
    assert (state.guesses.log_probs.numel(), state.guesses.entropies.numel()) == (0, 0)


def test_what_cannot_guess_says_so() -> None:
    table = {"actions": ("halt", "refine", "restart_guess")}
    with pytest.raises(InvalidValueError, match="got restart_guess"):
        random_core(**table).recording(BASE)
    with pytest.raises(InvalidValueError, match="needs a fresh carry"):
        Action("mine", guess=True)
    with pytest.raises(InvalidValueError, match="can't commit"):
        Action("mine", guess=True, fresh=True, commit=0.9)
    letters = TokenTask("letters", 5, 9, lambda split: Puzzles.unlabelled(torch.ones(3, 9, dtype=torch.int64)))
    assert can_guess(TASK)
    assert not can_guess(letters)
    with pytest.raises(InvalidValueError, match=r"'restart_guess' writes .* as if it was given, and letters has none"):
        EnvConfig(task=letters, reasoner=random_reasoner(letters), **table)
