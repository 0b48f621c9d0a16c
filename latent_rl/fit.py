"""Does a reasoner fit a task: vocabulary, length, and what puzzle ids mean to both; and which shipped one does."""

from pathlib import Path

from latent_rl.errors import CheckpointError, InvalidValueError
from latent_rl.notes import note
from latent_rl.reasoners.base import Reasoner, ReasonerModule, Resizable
from latent_rl.reasoners.checkpoint import (
    CONFIG,
    default_reasoner,
    load_reasoner,
    reasoner_facts,
    reasoner_folder,
    shipped_reasoners,
)
from latent_rl.reasoners.engine import chosen_device
from latent_rl.storage.atomic import read_json
from latent_rl.storage.identifiers import IDENTIFIERS, meaning, read_identifiers
from latent_rl.tasks.base import Task
from latent_rl.tasks.registry import TASKS


def check_fits(reasoner: Reasoner, task: Task) -> None:
    """Refuse a reasoner whose vocabulary or length is not the task's, or that has embeddings for other puzzle ids.

    Raises:
        InvalidValueError: they differ.
    """
    wanted, got = (task.vocab_size, task.seq_len), (reasoner.vocab_size, reasoner.seq_len)
    if wanted != got:
        raise InvalidValueError(
            f"the reasoner must fit the task {task.name} (V, L) = {wanted}; it was made for {got}."
            " Use a reasoner trained on this task."
        )
    known = getattr(getattr(reasoner, "config", None), "num_puzzle_ids", 0)
    if known and (asked := task.num_puzzle_ids) not in (0, known):
        raise InvalidValueError(
            f"the reasoner must have an embedding for each of the {asked} puzzle ids of {task.name}; it has {known}, so"
            " they mean other puzzles. Use a reasoner trained on this task."
        )


def fitted(reasoner: Reasoner, task: Task) -> Reasoner:
    """The reasoner, on the task's board if its weights fit others than its own.

    Raises:
        InvalidValueError: it does not fit.
    """
    if isinstance(reasoner, Resizable):
        reasoner = reasoner.resized(task.shape) or reasoner
    check_fits(reasoner, task)
    return reasoner


def matched(task: Task, reasoner: str | Path) -> Task:
    """The task, posed under the puzzle ids that a reasoner was trained with.

    What they mean is told by the `identifiers.json` that training and import leave beside the reasoner. A task takes
    them over that can, as ARC's do, augmentations included, whatever it would have used itself; others must have them.

    Args:
        task: any; one whose puzzles have no ids, or for a reasoner without embeddings, is returned as it is.
        reasoner: name or folder.

    Raises:
        InvalidValueError: the reasoner was trained under other ids.
        CheckpointError: what its ids mean is damaged.
    """
    folder = reasoner_folder(reasoner)
    facts = read_json(folder / CONFIG)
    shape = facts.get("reasoner")
    if not isinstance(shape, dict):
        return task  # loading the reasoner says what is wrong
    if isinstance(seq_len := shape.get("seq_len"), int):
        task = task.on_canvas(seq_len)
    if not shape.get("num_puzzle_ids") or not task.num_puzzle_ids:
        return task
    recorded = facts.get("puzzle_ids")
    if recorded is None:
        note(
            f"{reasoner} does not tell what its {shape['num_puzzle_ids']} puzzle ids mean; they are taken for those of"
            f" {task.name}."
        )
        return task
    names = task.identifiers
    if names is not None and meaning(names) == recorded:
        return task
    trained = read_identifiers(folder / IDENTIFIERS)
    if meaning(trained) != recorded or len(trained) != shape["num_puzzle_ids"]:
        raise CheckpointError(
            f"{folder / IDENTIFIERS} must name the puzzle ids of the reasoner beside it; it is damaged or another's."
        )
    known = task.known_as(trained)
    if known is None:
        raise InvalidValueError(
            f"the reasoner must be trained under the puzzle ids of {task.name}; {reasoner} was trained under others."
            f" Give the dataset that it was trained on, with its {IDENTIFIERS}."
        )
    return known


def loaded(task: Task, reasoner: str, device: str | None) -> tuple[Task, ReasonerModule]:
    """The task as a reasoner, by name or folder, knows it, see `matched`; and the reasoner on a device, see
    `chosen_device`."""
    return matched(task, reasoner), load_reasoner(reasoner).to(chosen_device(device))


def reasoner_of(task: Task, name: str) -> str:
    """The shipped reasoner of a task that the user calls by a name.

    Raises:
        InvalidValueError: there is none; the text says which would fit, and how to get another.
    """
    chosen = default_reasoner(name)
    if chosen in shipped_reasoners():
        return chosen
    fitting = [other for other in shipped_reasoners() if _is_kin(task, reasoner_facts(other)["train"]["task"])]
    use = f"use one that fits: --reasoner {' or '.join(fitting)}; or train" if fitting else "train"
    raise InvalidValueError(
        f"there must be a reasoner for {name}, and none is shipped; {use} one (latent-rl train --task {name}) and give"
        " its folder by --reasoner."
    )


def _is_kin(task: Task, other: str) -> bool:
    """Whether the puzzles of the task of that name have the same rules and size."""
    kin = TASKS.get(other)
    return type(kin) is type(task) and kin is not None and kin.seq_len == task.seq_len
