"""Reasoners that start at random: an episode's states are its key's, and a restart begins with another one."""

import torch
from helpers import TASK, random_symbols

from latent_rl.envs.core import Core
from latent_rl.envs.state import State


def core() -> Core:
    return Core(TASK, random_symbols(), horizon=12, actions=("halt", "refine", "restart_noise", "restart_view"))


def run(core: Core, state: State, actions: list[int]) -> list[State]:
    states = [state]
    for action in actions:
        decision = core.mode.decode(torch.full((len(state.step),), action))
        states.append(core.step(states[-1], decision).state)
    return states


def test_an_episode_is_that_of_its_key_whatever_stands_beside_it() -> None:
    live, keys = core(), torch.tensor([5, 9, 5, 77])
    actions = [1, 1, 2, 1, 3, 1]
    together = run(live, live.start(keys), actions)
    alone = run(live, live.start(keys[1:2]), actions)
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many.carry.answer[1:2], one.carry.answer, atol=1e-4, rtol=1e-4)
        assert torch.equal(many.prediction[0], many.prediction[2])
        assert torch.equal(many.inputs[0], many.inputs[2])


def test_puzzles_begin_with_states_of_their_own() -> None:
    live = core()
    puzzle = TASK.puzzles("test")[:1].select(torch.zeros(3, dtype=torch.int64))
    answers = live.begin(puzzle, torch.tensor([1, 2, 1])).carry.answer
    assert torch.equal(answers[0], answers[2])
    assert not torch.isclose(answers[0], answers[1]).all(1).any()


def test_every_restart_begins_with_a_new_state() -> None:
    """Of the same puzzle in the same view: `restart_noise` keeps the view."""
    live = core()
    states = run(live, live.start(torch.tensor([3])), [1, 2, 2, 2])[1:]
    answers = [state.carry.answer for state in states]
    assert [int(state.restarts) for state in states] == [0, 1, 2, 3]
    for i, one in enumerate(answers):
        for other in answers[:i]:
            is_open = (one != 0) & (other != 0)  # a closed candidate has no state
            assert (one - other)[is_open].abs().mean() > 0.1
