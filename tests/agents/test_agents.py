"""Who decides: baselines by hand, paired evaluation, tuning, SB3 glue, learning."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TASK, Clockwork, random_core, random_reasoner, random_symbols
from stable_baselines3 import DQN, PPO

from latent_rl import __main__ as cli
from latent_rl.agents.baselines import BASELINES, Tuned, Untuned, baseline_names, halts_above, make_baseline
from latent_rl.agents.evaluate import evaluate_policy
from latent_rl.agents.policy import Episodes, action_index, play_all
from latent_rl.agents.report.rows import report_row
from latent_rl.agents.rules import (
    RandomPolicy,
    aged,
    committing_rule,
    fixed_steps,
    guess_due,
    guess_oracle,
    guessing_rule,
    halting,
    is_astray,
    is_right,
    is_valid,
    least_confidence,
    of_feature,
    two_threshold_rule,
    verifying_guess_rule,
    verifying_rule,
)
from latent_rl.agents.sb3.agents import AGENTS, LearnedPolicy, agent_spec, make_agent
from latent_rl.agents.sb3.vec_env import LatentVecEnv
from latent_rl.agents.solver import Solver
from latent_rl.agents.tune import halting_worth, unhalted
from latent_rl.envs.core import Core
from latent_rl.envs.observations import make_feature
from latent_rl.errors import InvalidValueError, UnknownNameError
from latent_rl.evaluation.fixed_steps import evaluate_fixed
from latent_rl.evaluation.intervals import bootstrap_interval
from latent_rl.randomness import episode_keys

BASE = TASK.puzzles("test")[:30]
COMPARING = Path(__file__).parents[2] / "docs" / "comparing.md"


def uneven_core(**arguments: object) -> Core:
    """Test puzzle i is solved after i % 5 + 1 steps, and surely so."""
    inputs = TASK.puzzles("test").inputs
    needed = {row.numpy().tobytes(): i % 5 + 1 for i, row in enumerate(inputs)}
    return Core(TASK, Clockwork(TASK, needed), **{"horizon": 8, "split": "test", **arguments})


def test_a_fixed_number_of_steps_equals_plain_decoding() -> None:
    """The environment adds nothing to the reasoner: its dynamics are those of `evaluate_fixed`."""
    core = random_core()
    plain = evaluate_fixed(random_reasoner(), TASK, BASE, 4)
    outcome = evaluate_policy(core, fixed_steps(core.mode, 4), BASE, batch_size=7)
    np.testing.assert_array_equal(outcome.solved, plain.solved[3].numpy())
    assert outcome.passes.tolist() == [12] * 30
    assert outcome.steps.tolist() == [4] * 30


def test_halting_baselines_stop_at_the_first_sure_step() -> None:
    core = uneven_core()
    expected = [i % 5 + 1 for i in range(30)]
    sure = (make_baseline(core, name, Untuned(6)) for name in ("threshold", "act", "verifier", "oracle"))
    for policy in (two_threshold_rule(core, 0.9, 6), verifying_rule(core, 6), *sure):
        outcome = evaluate_policy(core, policy, BASE)
        assert outcome.steps.tolist() == expected
        assert outcome.solved.all()
        assert outcome.restarts.tolist() == [0] * 30


def test_the_rule_restarts_at_its_age() -> None:
    core = random_core()
    for rule in (two_threshold_rule(core, 1.1, 3), verifying_rule(core, 3)):
        outcome = evaluate_policy(core, rule, BASE)
        assert outcome.steps.tolist() == [8] * 30
        assert outcome.restarts.tolist() == [2] * 30
    core = random_core(actions="halt")
    assert (
        evaluate_policy(core, make_baseline(core, "verifier-rule", Tuned(core, BASE)), BASE).steps.tolist() == [8] * 30
    )


def test_the_committing_rule_commits_at_its_age() -> None:
    core = random_core(actions=("halt", "refine", "commit_forced"))
    state = core.begin(BASE, episode_keys(torch.arange(len(BASE)), 0))
    policy, committed = committing_rule(core, 1.1, 3), make_feature("committed_share")
    for step in range(1, 8):
        actions = policy.act(core.observe(state).numpy(), state)
        assert (actions == (2 if step in (4, 7) else 1)).all()
        state = core.step(state, core.mode.decode(torch.as_tensor(actions))).state
        assert ((committed.of(TASK, state)[:, 0] > 0) == (step >= 4)).all()


def test_evaluation_does_not_depend_on_the_batch() -> None:
    core = random_core()
    rule = two_threshold_rule(core, 0.7, 3)
    one, other = (evaluate_policy(core, rule, BASE, batch_size=size) for size in (30, 11))
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_array_equal(one.solved, other.solved)
    np.testing.assert_allclose(one.returns, other.returns, atol=1e-5)


def test_returns_of_an_evaluation_are_the_sum_of_rewards() -> None:
    core = uneven_core(cost_per_pass=0.01)
    outcome = evaluate_policy(core, halting(core, "oracle", is_right, 0.5), BASE)
    blanks = (BASE.inputs != BASE.labels).float().mean(1).numpy()
    np.testing.assert_allclose(outcome.returns, blanks + 1 - 0.01 * outcome.passes, atol=1e-5)


def test_report_rows_and_intervals() -> None:
    core = uneven_core()
    row = report_row(evaluate_policy(core, fixed_steps(core.mode, 3), BASE), seed=5)
    assert (row.agent, row.seed, row.num_seeds, row.num_puzzles) == ("fixed-3", 5, 1, 30)
    assert row.solved_rate == pytest.approx(18 / 30)
    assert row.solved_low < row.solved_rate < row.solved_high
    assert row.gain is None
    low, high = bootstrap_interval(np.array([0.0, 1.0] * 500))
    spread = 1.96 * 0.5 / 1000**0.5
    assert low == pytest.approx(0.5 - spread, abs=0.006)
    assert high == pytest.approx(0.5 + spread, abs=0.006)


def test_tuning_finds_the_constants_that_are_best_by_construction() -> None:
    core = uneven_core(cost_per_pass=0.01)
    tuned = Tuned(core, BASE)
    assert make_baseline(core, "fixed", tuned).name == "fixed-5"
    assert make_baseline(core, "best-of", tuned).name == "best-of-5"
    assert make_baseline(core, "best-of-3", tuned).name == "best-of-3"
    # Beginning anew at 4 would lose the puzzles that need 5 steps.
    assert tuned.constants(BASELINES["verifier-rule"]) == 8
    for name in ("threshold", "rule", "entropy", "act", "verifier", "verifier-rule", "oracle"):
        outcome = evaluate_policy(core, make_baseline(core, name, tuned), BASE)
        assert outcome.agent == name
        assert outcome.steps.tolist() == [i % 5 + 1 for i in range(30)]
    with pytest.raises(UnknownNameError, match="did you mean 'verifier'"):
        make_baseline(core, "verifer", tuned)
    with pytest.raises(UnknownNameError):
        make_baseline(core, "fixed-0", tuned)


@pytest.mark.parametrize(("age", "action"), [(None, "restart_view"), (3, "restart_view"), (3, "commit_forced")])
def test_worth_equals_a_live_evaluation(age: int | None, action: str) -> None:
    core = random_core(cost_per_pass=0.01, actions=("halt", "refine", "restart_view", "commit_forced"))
    restart = None if age is None else aged(age)
    seen = unhalted(core, BASE, {"threshold": least_confidence}, restart, restart_action=action)
    rule = two_threshold_rule if action == "restart_view" else committing_rule
    for confidence in (0.5, 0.9):
        plain = halting(core, "threshold", least_confidence, confidence)
        policy = plain if age is None else rule(core, confidence, age)
        live = evaluate_policy(core, policy, BASE)
        assert halting_worth(seen, "threshold", confidence) == pytest.approx(live.returns.mean(), abs=1e-4)


def test_worth_of_guessing_equals_a_live_evaluation() -> None:
    core = random_core(cost_per_pass=0.01, actions=("halt", "refine", "restart_guess"))
    worths = Tuned(core, BASE).confident("restart_guess", guess_due(3, 2))
    for confidence, worth in worths.items():
        live = evaluate_policy(core, guessing_rule(core, confidence, 3, 2), BASE)
        assert worth == pytest.approx(live.returns.mean(), abs=1e-4)


def test_guesses_come_at_their_ages() -> None:
    core = random_core(actions=("halt", "refine", "restart_guess"), horizon=9)
    episodes = Episodes.begun(core, BASE, 0)
    ages = [turn.after.state.age[0].item() for turn in play_all(core, guessing_rule(core, 1.0, 3, 2), episodes)]
    assert ages == [1, 2, 3, 1, 2, 1, 2, 1, 2]
    assert evaluate_policy(core, guessing_rule(core, 1.0, 9, 9), BASE).restarts.max() == 0


def test_the_verifier_ends_a_search_and_a_search_solves_more() -> None:
    """What it submits, a guess or none, keeps the puzzle's rules; the oracle needs fewer steps on the same puzzles."""
    core = random_core(reasoner=random_symbols(), actions="search", horizon=24)
    policies = halting(core, "plain", is_valid, 0.5), verifying_guess_rule(core, 4, 4), guess_oracle(core, 4, 4)
    plain, rule, bound = (Solver(core, policy).solve(BASE) for policy in policies)
    assert torch.equal(rule.solved, TASK.verify(BASE.inputs, rule.answers))
    assert plain.solved.sum() < rule.solved.sum() <= bound.solved.sum()
    assert bound.steps.sum() < rule.steps.sum()


def test_a_wrong_guess_is_what_the_label_denies() -> None:
    core = random_core(actions=("halt", "refine", "restart_guess", "restart_view"))
    refine, guess, view = (torch.full((30,), index) for index in (1, 2, 3))
    state = core.begin(BASE, torch.arange(30))
    for actions in (refine, view, guess):
        state = core.step(state, core.mode.decode(actions)).state
    shown = state.view.invert(state.inputs)
    wrong = (TASK.is_given(shown) & (shown != BASE.labels)).any(1)
    assert torch.equal(is_astray(state), wrong)
    assert 0 < wrong.sum() < 30
    assert not is_astray(core.step(state, core.mode.decode(view)).state).any()


@pytest.mark.parametrize("name", [name for name, baseline in BASELINES.items() if baseline.score])
def test_every_halting_rule_equals_what_was_seen_of_it(name: str) -> None:
    """What tuning says of any threshold is what a live evaluation gives."""
    core = random_core(cost_per_pass=0.01)
    score = BASELINES[name].score
    seen = unhalted(core, BASE, {name: score})
    scores = seen.scores[name]
    middle = float(np.median(scores[np.isfinite(scores)]))
    live = evaluate_policy(core, halting(core, name, score, middle), BASE)
    assert halting_worth(seen, name, middle) == pytest.approx(live.returns.mean(), abs=1e-4)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_works_tuned_and_untuned(name: str) -> None:
    core = random_core(actions=("halt", "refine", "restart_view", "commit_forced", "restart_guess"))
    for constants in (Tuned(core, BASE), Untuned(4)):
        policy = make_baseline(core, name, constants)
        assert policy.name.startswith(name)
        assert evaluate_policy(core, policy, BASE).steps.max() <= 8


def test_one_entry_is_a_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, tuned and listed by name, as those that are there."""
    entry = halts_above("calm", "halts when the cells are calm", of_feature("max_entropy", -1.0), (-0.9, -0.5, -0.1))
    monkeypatch.setitem(BASELINES, "calm", entry)
    core = uneven_core(cost_per_pass=0.01)
    outcome = evaluate_policy(core, make_baseline(core, "calm", Tuned(core, BASE)), BASE)
    assert outcome.steps.tolist() == [i % 5 + 1 for i in range(30)]
    assert "calm" in baseline_names()


@pytest.mark.parametrize("command", ["compare", "solve"])
def test_the_help_says_how_every_agent_decides(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From the table, each with its own words."""
    with pytest.raises(SystemExit):
        cli.run([command, "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    told = {name: baseline.about for name, baseline in BASELINES.items()}
    if command == "compare":
        told |= {name: spec.about for name, spec in AGENTS.items()}
    else:
        bounds = [name for name, baseline in BASELINES.items() if baseline.knows_labels]
        assert bounds == ["oracle", "guess-oracle"]
        assert not any(told.pop(name) in said for name in bounds)
    for name, about in told.items():
        numbered = "[-K]" if name in BASELINES and BASELINES[name].is_numbered else ""
        assert f"{name}{numbered}: {about}" in said


@pytest.mark.skipif(not COMPARING.is_file(), reason="needs the checkout, not the wheel alone")
def test_the_page_names_every_agent() -> None:
    table = [line for line in COMPARING.read_text().splitlines() if line.startswith("| `")]
    for name in (*AGENTS, *baseline_names()):
        assert any(f"`{name}`" in line for line in table), name


def test_unknown_agents_and_actions_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ppo'"):
        agent_spec("pppo")
    core = random_core(actions="halt")
    with pytest.raises(InvalidValueError, match="restart_view"):
        action_index(core.mode, "restart_view")


def test_new_agents_prefer_to_refine() -> None:
    for name in AGENTS:
        core = random_core()
        policy = LearnedPolicy(name, make_agent(name, core, seed=0))
        state = core.begin(BASE, torch.arange(30))
        actions = policy.act(core.observe(state).numpy(), state)
        assert (actions == action_index(core.mode, "refine")).all()


@pytest.mark.parametrize("name", AGENTS)
def test_agents_are_reproducible_and_survive_save_and_load(name: str, tmp_path) -> None:
    def trained() -> PPO | DQN:
        torch.use_deterministic_algorithms(True)
        model = make_agent(name, random_core(), seed=3)
        model.learn(4096)
        torch.use_deterministic_algorithms(False)
        return model

    one, other = trained(), trained()
    for key, value in one.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[key]), key
    one.save(tmp_path / "agent.zip")
    loaded = AGENTS[name].algorithm.load(tmp_path / "agent.zip")
    observation = np.random.default_rng(0).random((50, one.observation_space.shape[0]), dtype=np.float32)
    np.testing.assert_array_equal(
        one.predict(observation, deterministic=True)[0], loaded.predict(observation, deterministic=True)[0]
    )


def test_the_sb3_adapter_reports_episodes() -> None:
    env = LatentVecEnv(uneven_core(), 4)
    env.seed(0)
    env.reset()
    total = np.zeros(4)
    for _ in range(2):
        _, rewards, dones, infos = env.step(np.ones(4, dtype=np.int64))
        total += rewards
        assert not dones.any()
        assert infos == [{}] * 4
    _, rewards, dones, infos = env.step(np.array([0, 1, 1, 1]))
    assert dones.tolist() == [True, False, False, False]
    assert infos[0]["episode"]["r"] == pytest.approx(total[0] + rewards[0])
    assert infos[0]["episode"]["l"] == 3, "as SB3 counts: with the halt"
    assert env.env_method("action_masks")[0].tolist() == [False, True, False]
    assert env.env_method("action_masks", indices=1)[0].tolist() == [True, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_agents_learn_to_halt_where_the_answer_is_right(name: str) -> None:
    """Far better than chance, and than any fixed number of steps, where the right moment can be seen."""
    core = uneven_core(cost_per_pass=0.02)
    model = make_agent(name, core, seed=0)
    model.learn(40_000)
    learned = evaluate_policy(core, LearnedPolicy(name, model), BASE)
    chance = evaluate_policy(core, RandomPolicy(core.mode), BASE)
    fixed = max(evaluate_policy(core, fixed_steps(core.mode, k), BASE).returns.mean() for k in range(1, 9))
    bound = evaluate_policy(core, halting(core, "oracle", is_right, 0.5), BASE)
    assert learned.returns.mean() > chance.returns.mean() + 0.2
    assert learned.returns.mean() > fixed
    assert learned.returns.mean() > bound.returns.mean() - 0.03
