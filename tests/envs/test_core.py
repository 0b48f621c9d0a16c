"""The dynamics: rewards by hand, submission, restarts, guidance, depth, horizon."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import TASK, Clockwork, random_core, random_reasoner

from latent_rl.envs.actions import Action, Decision, make_action, make_action_mode
from latent_rl.envs.core import Core
from latent_rl.envs.live import disturbed
from latent_rl.envs.observations import make_feature
from latent_rl.envs.state import State
from latent_rl.errors import InvalidValueError
from latent_rl.randomness import derive, mix, normal, uniform
from latent_rl.types import Puzzles, Symmetry

BASE = TASK.puzzles("test")[:6]


def decisions(count: int, name: str | Action = "refine", **changes: object) -> Decision:
    """The same action for every row, with some columns changed."""
    decided = Decision.of([make_action(name)] * count)
    return replace(decided, **{key: torch.as_tensor(value) for key, value in changes.items()})


def begin(core: Core, puzzles: Puzzles = BASE) -> State:
    return core.begin(puzzles, torch.arange(len(puzzles)))


def clockwork(needed: int) -> Clockwork:
    return Clockwork(TASK, {row.numpy().tobytes(): needed for row in TASK.puzzles("test").inputs})


def test_a_step_is_the_reasoners_own_step() -> None:
    core = random_core()
    reasoner = random_reasoner()
    state, carry = begin(core), reasoner.initial_carry(len(BASE))
    for index in range(3):
        state = core.step(state, decisions(6)).state
        carry, output = reasoner.step(BASE.inputs, carry, index)
        answers = TASK.constrain(BASE.inputs, output.conditional_logits).argmax(-1)
        assert torch.equal(state.prediction, answers)
        torch.testing.assert_close(state.carry.latent, carry.latent)


def test_rewards_telescope_to_improvement_minus_cost_plus_bonus() -> None:
    """sum r = Phi(end) - Phi(start) - cost * passes + bonus * solved, at gamma 1."""
    core = Core(TASK, clockwork(3), horizon=8, cost_per_pass=0.01, solve_bonus=2.0)
    state = begin(core)
    total = torch.zeros(6)
    for _ in range(3):
        transition = core.step(state, decisions(6))
        state, total = transition.state, total + transition.reward
        assert not transition.terminated.any()
    last = core.step(state, decisions(6, "halt"))
    assert last.terminated.all()
    assert last.solved.all()
    blanks = (BASE.inputs != BASE.labels).float().mean(1)
    torch.testing.assert_close(total + last.reward, blanks - 0.01 * 9 + 2.0)


def test_halting_too_early_earns_no_bonus() -> None:
    core = Core(TASK, clockwork(3), horizon=8)
    state = core.step(begin(core), decisions(6)).state
    last = core.step(state, decisions(6, "halt"))
    assert last.terminated.all()
    assert not last.solved.any()
    torch.testing.assert_close(last.reward, torch.zeros(6))


def test_discounted_potential() -> None:
    core = Core(TASK, clockwork(1), horizon=8, gamma=0.9, cost_per_pass=0.0)
    before = begin(core)
    transition = core.step(before, decisions(6))
    torch.testing.assert_close(transition.reward, 0.9 * torch.ones(6) - before.potential)


def test_the_horizon_terminates() -> None:
    core = random_core(horizon=2)
    state = core.step(begin(core), decisions(6)).state
    assert core.step(state, decisions(6)).terminated.all()


@pytest.mark.parametrize("reward", ["token_accuracy", "log_likelihood", "constraints", "sparse"])
def test_potentials_at_the_right_answer(reward: str) -> None:
    core = Core(TASK, clockwork(1), horizon=8, reward=reward)
    best = core.step(begin(core), decisions(6)).state.potential
    expected = {"log_likelihood": 0.0, "sparse": 0.0}.get(reward, 1.0)
    torch.testing.assert_close(best, torch.full((6,), expected), atol=1e-4, rtol=0)


def test_log_likelihood_starts_at_a_uniform_guess() -> None:
    state = begin(random_core(reward="log_likelihood"))
    blanks = (BASE.inputs == 1).float().mean(1)
    torch.testing.assert_close(state.potential, -math.log(TASK.vocab_size) * blanks)


def test_a_restart_cant_lose_a_good_answer() -> None:
    """After a restart the reasoner knows nothing, and the submission stays."""
    # The stand-in knows puzzles in their own view only, so the view is made the identity.
    task: Any = copy.copy(TASK)
    task.symmetry = lambda draws: Symmetry.identity(len(draws), TASK.seq_len, TASK.vocab_size)
    core = Core(task, clockwork(2), horizon=8)
    state = core.step(core.step(begin(core), decisions(6)).state, decisions(6)).state
    solved = state.submission
    assert TASK.verify(BASE.inputs, solved).all()
    transition = core.step(state, decisions(6, "restart_view"))
    assert not torch.equal(transition.state.prediction, solved)
    assert torch.equal(transition.state.submission, solved)
    torch.testing.assert_close(transition.reward, torch.full((6,), -0.003))
    assert transition.state.age.tolist() == [1] * 6
    assert transition.state.restarts.tolist() == [1] * 6


def test_a_restart_is_a_first_step_in_another_view() -> None:
    core = random_core()
    reasoner = random_reasoner()
    state = core.step(begin(core), decisions(6)).state
    after = core.step(state, decisions(6, "restart_view")).state
    view = after.view
    assert not torch.equal(after.inputs, BASE.inputs)
    assert torch.equal(after.inputs, view.apply(BASE.inputs))
    _, output = reasoner.step(after.inputs, reasoner.initial_carry(6), 0)
    expected = view.invert(TASK.constrain(after.inputs, output.conditional_logits).argmax(-1))
    assert torch.equal(after.prediction, expected)
    given = BASE.inputs > 1
    assert torch.equal(after.prediction[given], BASE.inputs[given])


def test_restarts_draw_new_views_each_time_and_the_same_ones_for_the_same_key() -> None:
    core = random_core()
    restart = decisions(6, "restart_view")
    first = core.step(core.step(begin(core), decisions(6)).state, restart).state
    again = core.step(core.step(begin(core), decisions(6)).state, restart).state
    second = core.step(first, restart).state
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, second.inputs)


class TestCommit:
    """Cells that are sure enough become givens of the reasoner's inputs, and of nothing else."""

    def after(self, name: str | Action, certainty: torch.Tensor) -> tuple[Core, State, State]:
        """A restart into another view, then the action on a state whose cells are as certain as told, [6, 16]."""
        core = random_core()
        state = core.step(core.step(begin(core), decisions(6)).state, decisions(6, "restart_view")).state
        state = replace(state, certainty=certainty.where(~TASK.is_given(state.inputs), torch.ones(6, 16)))
        return core, state, core.step(state, decisions(6, name)).state

    def test_the_sure_cells_are_written_in_the_view(self) -> None:
        certainty = torch.rand(6, 16, generator=torch.Generator().manual_seed(0))
        _, before, after = self.after(Action("c", commit=0.6), certainty)
        answers = before.view.apply(before.prediction)
        blank = ~TASK.is_given(before.inputs)
        expected = torch.where(blank & (certainty > 0.6), answers, before.inputs)
        assert torch.equal(after.inputs, expected)
        assert torch.equal(after.puzzles.inputs, BASE.inputs)
        share = make_feature("committed_share").of(TASK, after)[:, 0]
        torch.testing.assert_close(share, (expected != before.inputs).float().mean(1))
        assert share.min() > 0
        assert after.age.tolist() == [2] * 6

    def test_nothing_is_committed_below_the_threshold_unless_forced(self) -> None:
        certainty = torch.linspace(0.1, 0.5, 16).expand(6, -1)
        _, before, after = self.after("commit", certainty)
        assert torch.equal(after.inputs, before.inputs)
        _, before, after = self.after("commit_forced", certainty)
        changed = after.inputs != before.inputs
        assert changed.sum(1).tolist() == [1] * 6
        last_blank = (~TASK.is_given(before.inputs) * torch.arange(16)).argmax(1)
        assert torch.equal(changed.float().argmax(1), last_blank)

    def test_a_reset_keeps_the_commits_and_drops_the_carry(self) -> None:
        core, before, after = self.after("commit_reset", torch.ones(6, 16))
        answers = before.view.apply(before.prediction)
        assert torch.equal(after.inputs, answers)
        fresh, _ = core.reasoner.step(answers, core.reasoner.initial_carry(6), 0)
        torch.testing.assert_close(after.carry.answer, fresh.answer)
        assert after.age.tolist() == [1] * 6
        assert torch.equal(after.restarts, before.restarts)

    def test_a_restart_takes_commits_back(self) -> None:
        core, _, after = self.after("commit", torch.ones(6, 16))
        for name in ("restart_view", "restart_noise"):
            again = core.step(after, decisions(6, name)).state
            assert torch.equal(again.inputs, again.view.apply(BASE.inputs))

    def test_a_committed_answer_is_still_judged_by_the_puzzle(self) -> None:
        """Wrong commits can't make a wrong answer count as solved."""
        core, _, after = self.after("commit", torch.ones(6, 16))
        last = core.step(after, decisions(6, "halt"))
        assert torch.equal(last.solved, TASK.verify(BASE.inputs, after.submission))
        assert not last.solved.all()


def test_noise_is_seeded_per_episode_and_step_and_has_its_size() -> None:
    core = random_core()
    state = core.step(begin(core), decisions(6)).state
    quiet, one, again = (core.step(state, decisions(6, name)).state for name in ("refine", "perturb", "perturb"))
    assert torch.equal(one.carry.latent, again.carry.latent)
    assert not torch.equal(one.carry.latent, quiet.carry.latent)
    noise = disturbed(state, torch.full((6,), 0.5)).carry.latent - state.carry.latent
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    later = disturbed(quiet, torch.full((6,), 0.5)).carry.latent - quiet.carry.latent
    assert not torch.equal(noise, later)
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(6)
    assert correlation.abs().max() < 0.25
    fresh = core.step(quiet, decisions(6, "restart_noise")).state
    assert fresh.age.tolist() == [1] * 6
    assert torch.equal(fresh.inputs, BASE.inputs)


def test_normal_draws_are_standard_normal() -> None:
    draws = normal(derive(mix(torch.arange(1, 2001)), 5), 21).flatten()
    assert abs(draws.mean()) < 0.02
    assert draws.std() == pytest.approx(1, abs=0.02)
    assert (draws.abs() > 1.96).float().mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"new_view": True}, "fresh carry"),
        ({"forced": True}, "threshold"),
        ({"depth": 0}, "depth >= 1"),
        ({"noise": -1.0}, "noise >= 0"),
    ],
)
def test_actions_that_make_no_sense_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Action("mine", **fields)


def test_submitting_the_last_answer() -> None:
    core = random_core(submit="last")
    state = begin(core)
    for _ in range(4):
        state = core.step(state, decisions(6)).state
        assert torch.equal(state.submission, state.prediction)


def test_submitting_the_most_confident_answer() -> None:
    core = random_core()
    state = begin(core)
    least, answers = [], []
    for _ in range(6):
        state = core.step(state, decisions(6)).state
        least.append(state.measured.of("least_confidence")[:, 0])
        answers.append(state.prediction)
    best = torch.stack(least).argmax(0)
    assert torch.equal(state.submission, torch.stack(answers)[best, torch.arange(6)])


def test_guidance_acts_on_the_state() -> None:
    core, reasoner = random_core(), random_reasoner()
    scale = torch.tensor([0.0, 0.5, 1.0, 1.25, 0.75, 1.0])
    before = core.step(begin(core), decisions(6)).state
    after = core.step(before, decisions(6, guidance_scale=scale)).state
    carry, _ = reasoner.step(BASE.inputs, before.carry, 1)
    expected = before.carry.answer + scale[:, None, None] * (carry.answer - before.carry.answer)
    torch.testing.assert_close(after.carry.answer, expected)
    torch.testing.assert_close(after.carry.latent, carry.latent)
    logits = torch.nn.functional.linear(expected, reasoner.head)
    assert torch.equal(after.prediction, TASK.constrain(BASE.inputs, logits).argmax(-1))


def test_depth_multiplies_latent_updates_and_is_paid_for() -> None:
    core = random_core()
    after = core.step(begin(core), decisions(6, depth=[1, 2, 1, 2, 2, 1])).state
    assert after.passes.tolist() == [3, 5, 3, 5, 5, 3]
    deep, _ = random_reasoner().step(BASE.inputs[1:2], random_reasoner().initial_carry(1), 0, num_latent_updates=4)
    torch.testing.assert_close(after.carry.answer[1:2], deep.answer)


def test_rows_do_not_touch_each_other() -> None:
    """A batch in which rows do different things equals rows on their own."""
    core = random_core()
    names = ("halt", "restart_view", "commit", "deep", "perturb", "restart_noise")
    mixed = Decision.of([make_action(name) for name in names])
    start = core.step(begin(core), decisions(6)).state
    together = core.step(start, mixed)
    for row in range(6):
        pick = torch.tensor([row])
        alone = core.step(start.select(pick), mixed.select(pick))
        torch.testing.assert_close(alone.reward, together.reward[pick])
        assert torch.equal(alone.state.prediction, together.state.prediction[pick])
        torch.testing.assert_close(core.observe(alone.state), core.observe(together.state)[pick], atol=1e-5, rtol=1e-5)


def test_action_modes_decode_to_what_they_say() -> None:
    table = make_action_mode(("halt", "refine", "deep", "refine_w1.25", "restart_view"))
    decided = table.decode(torch.arange(5))
    assert decided.halt.tolist() == [True, False, False, False, False]
    assert decided.depth.tolist() == [1, 1, 2, 1, 1]
    assert decided.guidance_scale.tolist() == [1.0, 1.0, 1.0, 1.25, 1.0]
    assert decided.new_view.tolist() == [False, False, False, False, True]
    joint = make_action_mode("joint").decode(torch.tensor([[0, 1, 0], [1, 2, 1]]))
    assert joint.halt.tolist() == [True, False]
    assert joint.guidance_scale.tolist() == [1.0, 1.25]
    assert joint.depth.tolist() == [1, 2]
    box = make_action_mode("continuous").decode(torch.tensor([[-1.0], [1.0], [0.0]]))
    assert box.halt.tolist() == [True, False, False]
    assert box.guidance_scale.tolist() == [0.0, 1.5, 0.75]


def test_draws_are_uniform_and_independent_between_keys() -> None:
    draws = uniform(derive(mix(torch.arange(1, 2001)), 5), 20)
    assert 0 <= draws.min() < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.005
    assert abs(draws.var() - 1 / 12) < 0.002
    correlation = torch.corrcoef(draws.T) - torch.eye(20)
    assert correlation.abs().max() < 0.12
    assert len(draws.unique()) == draws.numel()


def test_a_reward_that_compares_with_labels_is_refused_where_there_are_none() -> None:
    """Else every board would be as good as any other, in silence."""
    puzzles = Puzzles.unlabelled(TASK.puzzles("test").inputs)
    for reward in ("token_accuracy", "log_likelihood"):
        with pytest.raises(InvalidValueError, match=f"'{reward}' needs labels, and puzzles of sudoku4x4 have none"):
            random_core(puzzles=puzzles, reward=reward)
    for reward in ("constraints", "sparse"):
        assert begin(random_core(puzzles=puzzles, reward=reward)).potential.shape == (6,)
    labels = torch.zeros_like(puzzles.inputs)
    labels[9] = 2
    assert random_core(puzzles=replace(puzzles, labels=labels)).config.reward == "token_accuracy"
