"""Training without labels: the gradient is that of the reward, answers are searched for, and no label is read."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import TASK, example_source, random_reasoner
from resume_cases import assert_same_state, killed_after
from torch import Tensor

from latent_rl.errors import InvalidValueError, PuzzleError, UnknownNameError
from latent_rl.guess import drawn_guess
from latent_rl.randomness import drawn_answers
from latent_rl.reasoners.symbols import Symbols, SymbolsConfig
from latent_rl.tasks.base import SPLITS, Task
from latent_rl.tasks.constraints import OPEN, Constraints, ConstraintTask, rows_and_columns
from latent_rl.tasks.maze.task import FREE, PATH, Maze
from latent_rl.tasks.nqueens.task import NQueens
from latent_rl.tasks.registry import TASKS
from latent_rl.tasks.sudoku.task import Sudoku
from latent_rl.training.config import OBJECTIVE_NAMES
from latent_rl.training.episodes import EpisodeBatches
from latent_rl.training.known import KnownAnswers, read_answers
from latent_rl.training.objectives import OBJECTIVES, LabelObjective, RewardObjective, VerifiedObjective
from latent_rl.training.reward import entropy, policy_objective, sampled_objective
from latent_rl.training.search import GuessSearch, Search, attempt
from latent_rl.training.trainer import TrainConfig, train
from latent_rl.types import Puzzles, PuzzleSource

LATIN = ConstraintTask("latin3", Constraints(9, 3, rows_and_columns(3)), lambda split: Puzzles.unlabelled(OPEN_BOARD))
OPEN_BOARD = torch.full((1, 9), OPEN)
QUEENS = NQueens("nqueens4", 4, counts=(1, 1, 1))
MAZE = Maze("maze5", 5, counts=(40, 8, 8), min_steps=5)
SMALL_MAZE = MAZE.puzzles("train")[:1]
TINY = TrainConfig(
    task="sudoku4x4", num_batches=4, batch_size=8, num_validation=8, validate_every=2, validation_steps=3, save_every=2,
    extended_from=0.0, extended_fraction=0.5, midway_fraction=0.5, reveal_fraction=0.5, extended_depth=12,
)  # fmt: skip
SEARCH: dict[str, Any] = {
    "objective": "verified", "search_every": 2, "search_steps": 4, "search_guesses": 1, "search_puzzles": 64,
}  # fmt: skip
REPLACEMENT: dict[str, Any] = {
    "batching": "replacement", "leaves": "solved", "extended_depth": 8, "extended_fraction": 0.0,
    "midway_fraction": 0.0,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "reward": {"objective": "reward", "entropy_weight": 0.1},
    "reward, replacement": {"objective": "reward", **REPLACEMENT},
    "reward, drawn": {"objective": "reward", "task": "maze5", "num_samples": 3},
    "verified": SEARCH,
    "verified, replacement": SEARCH | REPLACEMENT,
}


def network(task: Task) -> Any:
    """The same small network each time."""
    if not isinstance(task, ConstraintTask):
        return random_reasoner(task).requires_grad_(True).train()
    torch.manual_seed(0)
    return Symbols(SymbolsConfig(**vars(task.shape), width=8, num_supervision_steps=3), torch.float32)


def every_answer(task: ConstraintTask | Maze, inputs: Tensor) -> Tensor:
    """All that a readout can say of one puzzle, int64 [N, L]."""
    allowed = task.constrain(inputs, torch.zeros(*inputs.shape, task.vocab_size))[0] == 0
    return torch.tensor(list(itertools.product(*(row.nonzero().flatten().tolist() for row in allowed))))


def violations(task: ConstraintTask, answers: Tensor) -> Tensor:
    """Pairs of equal symbols in a unit, and with a background symbols that an exact unit lacks; counted one by one."""
    found = []
    for answer in answers.tolist():
        count = 0
        for kind, unit in ((each, unit) for each in task.constraints.kinds for unit in each.units):
            symbols = [answer[cell] for cell in unit if answer[cell] > OPEN]
            count += sum(a == b for a, b in itertools.combinations(symbols, 2))
            if task.constraints.has_background and kind.exact:
                count += task.constraints.num_symbols - len(set(symbols))
        found.append(count)
    return torch.tensor(found, dtype=torch.float64)


def exact_gradient(log_probs: Tensor, answers: Tensor, rewards: Tensor, logits: Tensor) -> Tensor:
    """sum_y p(y) R(y) d log p(y) / d logits."""
    scores = log_probs[0].gather(1, answers.T).sum(0)
    (gradient,) = torch.autograd.grad((scores.detach().exp() * rewards * scores).sum(), logits, retain_graph=True)
    return gradient


@pytest.mark.parametrize("task", [LATIN, QUEENS], ids=lambda task: task.name)
def test_the_gradient_is_the_policy_gradient_of_minus_the_violations(task: ConstraintTask) -> None:
    """Over every answer that the readout can give."""
    inputs = torch.full((1, task.seq_len), OPEN)
    logits = torch.randn(1, task.seq_len, task.vocab_size, dtype=torch.float64, requires_grad=True)
    log_probs = task.constrain(inputs, logits).log_softmax(-1)
    answers = every_answer(task, inputs)
    rewards = -violations(task, answers) / task.seq_len
    expected = exact_gradient(log_probs, answers, rewards, logits)
    keys = torch.zeros(1, dtype=torch.int64)
    objective = policy_objective(task, inputs, log_probs.float(), keys, reward="linear", num_samples=2)
    (found,) = torch.autograd.grad(objective.sum(), logits)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("task", [LATIN, QUEENS], ids=lambda task: task.name)
def test_the_log_reward_is_that_of_every_rule(task: ConstraintTask) -> None:
    """Each rule's probability summed over every answer, and the gradient through these sums."""
    inputs = torch.full((1, task.seq_len), OPEN)
    logits = torch.randn(1, task.seq_len, task.vocab_size, dtype=torch.float64, requires_grad=True)
    log_probs = task.constrain(inputs, logits).log_softmax(-1)
    answers = every_answer(task, inputs)
    likely = log_probs[0].gather(1, answers.T).sum(0).exp()
    expected = torch.zeros((), dtype=torch.float64)
    for kind in task.constraints.kinds:
        for unit in kind.units:
            for symbol in range(OPEN + 1, OPEN + 1 + task.constraints.num_symbols):
                found = (answers[:, list(unit)] == symbol).sum(1)
                expected = expected + likely[found == 1 if kind.exact else found <= 1].sum().log()
    found = policy_objective(
        task, inputs, log_probs, torch.zeros(1, dtype=torch.int64), reward="log", num_samples=2
    ).sum()
    torch.testing.assert_close(found, expected / task.seq_len, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (found, expected / task.seq_len)]
    assert gradients[1].abs().max() > 1e-2
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-3)


def test_drawn_readouts_have_the_policy_gradient_for_their_mean() -> None:
    """Of the satisfied share of a maze, whose mean is not known; within five standard errors."""
    inputs = SMALL_MAZE.inputs.clone()
    inputs[0, (inputs[0] == FREE).nonzero().flatten()[7:]] = 1  # walls: few cells are left open
    logits = torch.randn(1, 25, MAZE.vocab_size, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    log_probs = MAZE.constrain(inputs, logits).log_softmax(-1)
    answers = every_answer(MAZE, inputs)
    rewards = MAZE.satisfied_share(inputs.expand(len(answers), -1), answers)
    expected = exact_gradient(log_probs, answers, rewards, logits)
    means = []
    for number in range(20):
        count = 500
        many = log_probs.expand(count, -1, -1)
        keys = torch.arange(count) + 1000 * number
        objective = sampled_objective(MAZE, inputs.expand(count, -1), many, keys, 3)
        means.append(torch.autograd.grad(objective.mean(), logits, retain_graph=True)[0])
    found = torch.stack(means)
    error = found.std(0) / len(means) ** 0.5
    assert expected.abs().max() > 5 * error.max(), "else the test could not tell them apart"
    assert ((found.mean(0) - expected).abs() <= 5 * error + 1e-6).all()


def test_answers_are_drawn_as_likely_as_the_readout_says() -> None:
    log_probs = torch.tensor([[[0.0, 0.5, 0.3, 0.2], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]]).log()
    drawn = drawn_answers(log_probs.expand(2, -1, -1), torch.tensor([3, 4]), 4000)
    assert drawn.shape == (2, 4000, 3)
    shares = torch.stack([(drawn == token).float().mean((0, 1)) for token in range(4)], dim=1)
    torch.testing.assert_close(shares, log_probs[0].exp(), atol=0.03, rtol=0)
    assert torch.equal(shares[1:], log_probs[0, 1:].exp())
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[1:], drawn_answers(log_probs, torch.tensor([4]), 4000))


def test_entropy_in_nats() -> None:
    log_probs = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]]).clamp(min=1e-30).log()
    torch.testing.assert_close(entropy(log_probs), torch.tensor([0.5 * torch.tensor(2.0).log()]))


def first_step(objective: Any, source: PuzzleSource, config: TrainConfig) -> Any:
    examples = dataclasses.replace(example_source(config, source), objective=objective)
    return next(EpisodeBatches(examples, network(TASK)).steps(0))


def test_a_step_earns_its_reward_where_no_label_is_known_and_learns_it_elsewhere() -> None:
    config = dataclasses.replace(TINY, objective="reward", label_fraction=0.5, entropy_weight=0.3, batch_size=16)
    objective = RewardObjective(config, TASK)
    step = first_step(objective, KnownAnswers(TASK.puzzles("train"), 0.5, 0, draws_unknown=True), config)
    is_known = (step.puzzles.labels != 0).all(1)
    assert 0 < is_known.sum() < len(is_known)
    inputs, labels = step.puzzles.inputs, step.puzzles.labels
    log_probs = TASK.constrain(inputs, step.output.conditional_logits).log_softmax(-1)
    gain = TASK.log_reward(log_probs.exp()) + 0.3 * entropy(log_probs)  # type: ignore[attr-defined]
    imitation = -step.output.conditional_logits.log_softmax(-1).gather(2, labels[..., None]).squeeze(2).mean(1)
    by_row = step.weight * torch.where(is_known, imitation, -gain)
    right = TASK.verify(inputs, log_probs.argmax(-1)).float()
    halting = torch.nn.functional.binary_cross_entropy_with_logits(step.output.halt_logit, right)
    torch.testing.assert_close(objective.loss(step), by_row.mean() + config.halt_weight * halting)
    metrics = objective.metrics(step)
    assert metrics["train/solved_rate"] == right.mean()
    before, after = (
        TASK.satisfied_share(inputs, TASK.constrain(inputs, logits).argmax(-1)).mean()
        for logits in (step.output.reference_logits, step.output.conditional_logits)
    )
    assert metrics["train/reward"] == after - before


def test_a_step_learns_the_known_answer_unless_it_says_another_right_one() -> None:
    """Of several answers the one that the readout gives is kept; rows without an answer have no loss."""
    task = NQueens("nqueens6", 6, counts=(30, 10, 10))
    config = dataclasses.replace(TINY, task="nqueens6", halt_weight=0.0, **SEARCH)
    objective = VerifiedObjective(config, task)
    inputs = torch.full((3, 36), OPEN)
    columns = torch.tensor([[1, 3, 5, 0, 2, 4], [4, 2, 0, 5, 3, 1]])  # the queens' in two solutions
    one, other = 1 + torch.nn.functional.one_hot(columns, 6).flatten(1)
    assert task.verify(inputs[:2], torch.stack([one, other])).all()
    labels = torch.stack([one, one, torch.zeros_like(one)])
    logits = 0.1 * torch.randn(3, 36, 3)
    logits[0].scatter_(1, other[:, None], 5.0)  # says another right answer than its label
    step = first_step(LabelObjective(TINY, TASK), TASK.puzzles("train"), TINY)
    output = dataclasses.replace(step.output, conditional_logits=logits, halt_logit=torch.zeros(3))
    step = dataclasses.replace(
        step, puzzles=Puzzles(inputs, labels), output=output, weight=torch.tensor(1.5), previous=None
    )
    assert objective.is_right(step.puzzles, output).tolist() == [True, False, False]
    targets = torch.stack([other, one])
    expected = -logits[:2].log_softmax(-1).gather(2, targets[..., None]).mean((1, 2))
    torch.testing.assert_close(objective.loss(step), 1.5 * expected.sum() / 3)
    step.output.conditional_logits[1].scatter_(1, other[:, None], 0.6)  # nearer to it, but a cell says no
    step.output.conditional_logits[1, 4] = torch.tensor([0.0, 1.0, 0.0])
    near = VerifiedObjective(dataclasses.replace(config, answers="nearest"), task)
    for each, target in ((objective, one), (near, other)):
        loss = -logits[1].log_softmax(-1).gather(1, target[:, None]).mean()
        row = dataclasses.replace(step, puzzles=step.puzzles[1:2], output=step.output.map(lambda t: t[1:2]))
        torch.testing.assert_close(each.loss(row), 1.5 * loss)


def wrong(puzzles: PuzzleSource, rows: Tensor | None = None) -> Puzzles:
    """The same puzzles with labels of valid tokens that are all wrong, or in some rows, bool [N]."""
    every = puzzles[:]
    is_sudoku = every.inputs.shape[1] == 16
    labels = (every.labels - 1) % 4 + 2 if is_sudoku else torch.where(every.labels == PATH, FREE, PATH)
    return dataclasses.replace(
        every, labels=labels if rows is None else torch.where(rows[:, None], labels, every.labels)
    )


def relabelled(task: Task, rows: Tensor | None = None) -> Task:
    """The same task with wrong labels."""
    splits = {split: wrong(task.puzzles(split), rows if split == "train" else None) for split in SPLITS}
    if isinstance(task, Maze):
        return Maze(task.name, task.size, counts=task.counts, min_steps=task.min_steps, splits=splits.__getitem__)
    return Sudoku("sudoku4x4", 2, 2, (6, 12), splits=splits.__getitem__)


def trained(task: Task, config: TrainConfig, out: Path, search: Search | None = None) -> tuple[list[Tensor], Any]:
    """The weights, and all that a run's `config.json` knows but its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, config.task, task)
        weights = [value.clone() for value in train(config, network(task), out, search=search).state_dict().values()]
    facts = json.loads((out / "config.json").read_text())
    rows = [[{k: v for k, v in row.items() if "seconds" not in k} for row in facts[n]] for n in ("curve", "rounds")]
    return weights, (rows, facts["decoding"])


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(itertools.starmap(torch.equal, zip(one, other, strict=True)))


@pytest.mark.parametrize("run", RUNS)
def test_no_label_is_read(run: str, tmp_path: Path) -> None:
    """Wrong labels, of validation puzzles as well, change no weight and no number."""
    config = dataclasses.replace(TINY, **RUNS[run])
    task = MAZE if config.task == "maze5" else TASK
    honest, facts = trained(task, config, tmp_path / "honest")
    garbled, same_facts = trained(relabelled(task), config, tmp_path / "garbled")
    assert same(honest, garbled)
    assert facts == same_facts
    assert bool(facts[0][1]) == (config.objective == "verified")


def test_labels_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    """So that the test above could fail: with labels, and with labels for all puzzles."""
    for name, changes in {"labels": {}, "reward": {"objective": "reward", "label_fraction": 1.0}}.items():
        config = dataclasses.replace(TINY, **changes)
        honest, _ = trained(TASK, config, tmp_path / name)
        garbled, _ = trained(relabelled(TASK), config, tmp_path / f"{name}, garbled")
        assert not same(honest, garbled)


@pytest.mark.parametrize("objective", OBJECTIVE_NAMES)
def test_a_share_of_labels_is_that_and_no_more(objective: str, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, label_fraction=0.25, **(SEARCH if objective == "verified" else {}))
    config = dataclasses.replace(config, objective=objective)
    has_label = KnownAnswers(TASK.puzzles("train"), 0.25, config.seed, draws_unknown=True).has_label
    assert 0.2 < has_label.float().mean() < 0.3
    honest, _ = trained(TASK, config, tmp_path / "honest")
    others, _ = trained(relabelled(TASK, ~has_label), config, tmp_path / "others")
    assert same(honest, others)
    theirs, _ = trained(relabelled(TASK, has_label), config, tmp_path / "theirs")
    assert not same(honest, theirs)


def test_known_answers_stand_in_for_labels() -> None:
    base = TASK.puzzles("train")[:100]
    known = KnownAnswers(base, 0.0, 0, draws_unknown=False)
    assert len(known) == 100  # all of them, as long as no answer is known
    assert not known[:].labels.any()
    places = torch.tensor([7, 40])
    known.learn(places, base.labels[places])
    assert len(known) == 2
    assert torch.equal(known[:].inputs, base.inputs[places])
    assert torch.equal(known[:].labels, base.labels[places])
    again = KnownAnswers(base, 0.0, 0, draws_unknown=False)
    again.load(known.tensors())
    assert torch.equal(again.answers, known.answers)
    assert torch.equal(again.is_known, known.is_known)
    every = KnownAnswers(base, 0.3, 0, draws_unknown=True)
    assert len(every) == 100
    assert torch.equal(every[:].labels, torch.where(every.has_label[:, None], base.labels, 0))
    assert every.tensors()["places"].tolist() == []


def test_a_search_answers_what_the_verifier_accepts() -> None:
    """More with guesses; each row by its own key, whoever else is asked."""
    reasoner, puzzles = network(TASK).requires_grad_(False).eval(), TASK.puzzles("train")[:60]
    keys = torch.arange(60) + 5
    solved = {}
    for number in (0, 3):
        search = GuessSearch(num_steps=6, num_guesses=number)
        answers = search(reasoner, TASK, Puzzles.unlabelled(puzzles.inputs), keys)
        solved[number] = TASK.verify(puzzles.inputs, answers)
        assert torch.equal(solved[number], (answers != 0).any(1))
        some = torch.tensor([3, 30, 59])
        assert torch.equal(answers[some], search(reasoner, TASK, puzzles.select(some), keys[some]))
    assert 0 < solved[0].sum() < solved[3].sum()
    assert solved[3][solved[0]].all()


def test_a_guess_is_one_unsure_cell_as_the_readout_has_it() -> None:
    inputs = TASK.puzzles("train").inputs[:50]
    answers, left, log_probs = attempt(network(TASK), TASK, Puzzles.unlabelled(inputs), inputs, torch.arange(50), 2)
    assert torch.equal(left, (~TASK.verify(inputs, answers)).nonzero().flatten())
    asked = inputs[left]
    shown = drawn_guess(TASK, asked, log_probs, torch.arange(len(left))).written_into(asked)
    rows, cells = (shown != asked).nonzero(as_tuple=True)
    assert torch.equal(rows, torch.arange(len(left)))
    assert (asked[rows, cells] == OPEN).all()
    assert (log_probs[rows, cells].amax(1).exp() < 0.95).all()
    assert TASK.is_given(shown)[rows, cells].all()


@pytest.mark.parametrize("run", ["verified", "verified, replacement", "reward, drawn"])
def test_a_resumed_run_equals_an_uninterrupted_one(run: str, tmp_path: Path) -> None:
    """Answers that were found, searches and what is drawn included."""
    config = dataclasses.replace(TINY, **RUNS[run])
    task = MAZE if config.task == "maze5" else TASK
    trained(task, config, tmp_path / "whole")
    num_steps = network(task).num_supervision_steps
    for count in (num_steps + 1, 2 * num_steps, num_steps + 1):  # before the first save, right after it, and later
        with killed_after(count), pytest.MonkeyPatch.context() as patch:
            patch.setitem(TASKS, config.task, task)
            train(config, network(task), tmp_path / "cut", resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, config.task, task)
        train(config, network(task), tmp_path / "cut", resume=True)
    assert_same_state(tmp_path / "whole", tmp_path / "cut")


def test_searches_go_on_until_one_finds_nothing(tmp_path: Path) -> None:
    """Whoever searches; it sees no label, and what it answers is held to the rules."""
    base = TASK.puzzles("train")[:]
    labels = {row.numpy().tobytes(): label for row, label in zip(base.inputs, base.labels, strict=True)}
    calls = []

    def oracle(reasoner: Any, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
        assert not puzzles.labels.any()
        calls.append(len(puzzles))
        answers = torch.zeros_like(puzzles.inputs)
        if len(calls) == 1:  # the next one, of validation puzzles, has none
            answers = torch.stack([labels[row.numpy().tobytes()] for row in puzzles.inputs])
            answers[5:] = puzzles.inputs[5:].clamp(min=2)
        return answers

    config = dataclasses.replace(TINY, **SEARCH | {"num_batches": 8, "search_puzzles": 20})
    _, ((_, rounds), _) = trained(TASK, config, tmp_path, search=oracle)
    assert calls == [20, 8, 20, 8]
    assert [row["gained"] for row in rounds] == [5, 0]
    assert [row["batch"] for row in rounds] == [0, 2]
    assert rounds[0]["known_share"] == pytest.approx(5 / len(TASK.puzzles("train")))
    assert rounds[0]["solved_rate"] == 0 <= rounds[0]["plain_rate"]


def nobody(reasoner: Any, task: Task, puzzles: Puzzles, keys: Tensor) -> Tensor:
    """A search that answers nothing."""
    return torch.zeros_like(puzzles.inputs)


def results(folder: Path, text: str) -> Path:
    file = folder / "solved.csv"
    file.write_text(text)
    return file


def test_answers_of_a_step_policy_are_read_and_held_to_the_rules(tmp_path: Path) -> None:
    base = TASK.puzzles("train")[:10]
    lines = [f"{TASK.format(x)},{TASK.format(y)},true" for x, y in zip(base.inputs[:3], base.labels[:3], strict=True)]
    lines[1] = f"{TASK.format(base.inputs[1])},{TASK.format(base.labels[2])},true"  # not its answer
    lines += [f"{TASK.format(base.inputs[4])},,false"]  # none
    foreign = TASK.puzzles("test")[:1]
    lines += [f"{TASK.format(foreign.inputs[0])},{TASK.format(foreign.labels[0])},true"]
    file = results(tmp_path, "\n".join(["puzzle,answer,solved", *lines]) + "\n")
    places, answers = read_answers(file, TASK, base)
    assert places.tolist() == [0, 2]
    assert torch.equal(answers, base.labels[places])
    config = dataclasses.replace(TINY, **SEARCH, answers_file=str(file), num_batches=1)
    _, ((_, rounds), _) = trained(TASK, config, tmp_path / "run", search=nobody)
    assert rounds[0]["gained"] == 0
    assert rounds[0]["known_share"] == pytest.approx(2 / len(TASK.puzzles("train")))


PUZZLE = TASK.format(TASK.puzzles("train")[:1].inputs[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\na,b\n", r"line 2: must have the columns puzzle and answer"),
        (f"puzzle,answer\n{PUZZLE},{'1' * 16}\n", "must have a right answer"),
        (f"puzzle,answer\n{PUZZLE},12\n", "line 2: .*must have 16 symbols; got 2"),
        ("puzzle,answer\n", "must have a right answer"),
    ],
    ids=["columns", "wrong", "short", "empty"],
)
def test_files_of_answers_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PuzzleError, match=message):
        read_answers(results(tmp_path, text), TASK, TASK.puzzles("train"))
    with pytest.raises(PuzzleError, match="must be a readable CSV"):
        read_answers(tmp_path / "nothing.csv", TASK, TASK.puzzles("train"))


def test_a_search_that_finds_nothing_to_begin_with_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"of 64 it answered none\. Begin with --init"):
        trained(TASK, dataclasses.replace(TINY, **SEARCH), tmp_path, search=nobody)


def test_wrong_configs_are_refused(tmp_path: Path) -> None:
    for changes, message in [
        ({"label_fraction": 0.0}, 'label_fraction must be above 0 with objective "labels"'),
        ({"entropy_weight": 0.1}, 'entropy_weight acts with objective "reward" alone'),
        ({"objective": "reward", "search_steps": 8}, 'search_steps acts with objective "verified" alone'),
        ({"objective": "reward", "targets": "dis"}, 'needs targets "final", as there is no label'),
        ({"objective": "reward", "answers": "nearest"}, "a reward pays for any right answer"),
    ]:
        with pytest.raises(InvalidValueError, match=message):
            dataclasses.replace(TINY, **changes)
    with pytest.raises(UnknownNameError, match="did you mean 'reward'"):
        trained(TASK, dataclasses.replace(TINY, objective="rewards"), tmp_path)
    assert tuple(OBJECTIVES) == OBJECTIVE_NAMES


@pytest.mark.parametrize("objective", ["reward", "verified"])
def test_where_labels_are_the_only_rules_they_are_needed(objective: str) -> None:
    class Unruled(Sudoku):
        has_rules = False

    task = Unruled("unruled", 2, 2, (6, 12))
    with pytest.raises(InvalidValueError, match="unruled looks labels up"):
        OBJECTIVES[objective](dataclasses.replace(TINY, objective=objective), task)


def test_a_training_goes_on_from_what_another_gave(tmp_path: Path) -> None:
    """Which is frozen; one whose weights are frozen in part stays so."""
    reward = dataclasses.replace(TINY, **RUNS["reward"])
    first = train(reward, network(TASK), tmp_path / "first")
    assert not any(weight.requires_grad for weight in first.parameters())
    before = {name: weight.clone() for name, weight in first.state_dict().items()}
    after = train(dataclasses.replace(TINY, **RUNS["verified"]), first, tmp_path / "second").state_dict()
    assert not all(torch.equal(before[name], weight) for name, weight in after.items())
    part = network(TASK)
    frozen = next(part.parameters()).requires_grad_(False).clone()
    assert torch.equal(next(train(reward, part, tmp_path / "part").parameters()), frozen)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["reward", "verified"])
def test_it_learns_from_the_rules_alone(objective: str, tmp_path: Path) -> None:
    """4x4 Sudoku in seconds, from random weights."""
    torch.manual_seed(0)
    reasoner = Symbols(SymbolsConfig(**vars(TASK.shape), width=16), torch.float32)
    searched = {"search_every": 20, "search_steps": 8, "search_guesses": 2} if objective == "verified" else {}
    config = TrainConfig(
        task="sudoku4x4", num_batches=80, batch_size=32, muon_lr=5e-3, warmup_steps=20, ema=0.95, extended_fraction=0.0,
        validation_steps=8, **{"objective": objective, **searched},
    )  # fmt: skip
    train(config, reasoner, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["decoding"]["solved_rate"] > 0.9
