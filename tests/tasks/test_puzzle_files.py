"""Files of puzzles as people have them: layouts, tables, compression, rows that are none."""

import bz2
import gzip
import io
import json
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from latent_rl import __main__ as cli
from latent_rl.errors import LatentRLError, PuzzleError, UnknownNameError
from latent_rl.tasks.base import Task, first
from latent_rl.tasks.files.layouts import Row
from latent_rl.tasks.files.puzzle_io import collect_puzzles, read_board, read_puzzles, read_rows
from latent_rl.tasks.files.text import STANDARD_STREAM
from latent_rl.tasks.registry import make_task
from latent_rl.types import Puzzles

NINE, FOUR, MAZE, QUEENS = (make_task(name) for name in ("sudoku9x9", "sudoku4x4", "maze10", "nqueens8"))
BASE = first(NINE, "test", 3)
PUZZLES = [NINE.format(row) for row in BASE.inputs]
ANSWERS = [NINE.format(row) for row in BASE.labels]
PAIRS = list(zip(PUZZLES, ANSWERS, strict=True))
COMMAS = "a table with commas between its columns, puzzles in column"


def lines_of(board: str, side: int = 9) -> list[str]:
    return [board[start : start + side] for start in range(0, len(board), side)]


def boards(draw: Callable[[str], str], between: str = "\n\n", puzzles: list[str] = PUZZLES) -> str:
    """One board below the other, each row as `draw` has it."""
    return between.join("\n".join(map(draw, lines_of(board))) for board in puzzles)


def grouped(row: str, cell: str = " ", group: str = " | ") -> str:
    return group.join(cell.join(row[start : start + 3]) for start in (0, 3, 6))


def banded(draw: Callable[[str], str], rule: str, frame: str = "") -> str:
    """Boards with a rule between the bands, and perhaps in a frame."""
    drawn = []
    for board in PUZZLES:
        rows = list(map(draw, lines_of(board)))
        drawn.append([frame, *rows[:3], rule, *rows[3:6], rule, *rows[6:], frame])
    return "\n\n".join("\n".join(filter(None, rows)) for rows in drawn)


def titled(title: str) -> str:
    return "\n".join(f"{title.format(i)}\n{boards(str, puzzles=[board])}" for i, board in enumerate(PUZZLES))


def boxed(board: str) -> str:
    """Every cell in a box of its own."""
    edge = "┼".join(["───"] * 9)
    rows = [f"║{'│'.join(f' {cell} ' for cell in row)}║".replace(".", " ") for row in lines_of(board)]
    return f"\n╟{edge}╢\n".join(rows)


def blank(row: str) -> str:
    return row.replace(".", " ")


def empty(row: str, delimiter: str = ",") -> str:
    return delimiter.join(cell.strip(".") for cell in row)


LINES: dict[str, tuple[str, str]] = {
    "plain": ("\n".join(PUZZLES), "a puzzle a line, blanks '.'"),
    "comments": ("# tdoku\n\n" + "\n".join(f"{p}  # hard" for p in PUZZLES) + "\n# end\n", "a puzzle a line"),
    "other blanks": ("\n".join(p.replace(".", "?") for p in PUZZLES), "blanks '?'"),
    "spaces for blanks": ("\n".join(map(blank, PUZZLES)), "blanks spaces or nothing"),
    "rated": (
        "\n".join(f"id{i} {p}  {i}.2" for i, p in enumerate(PUZZLES)),
        "a puzzle in each line, among other words",
    ),
    "a title": ("My best\n=======\n" + "\n".join(PUZZLES), "lines of words above them: 2"),
    "spaced": ("\n".join(map(" ".join, PUZZLES)), "a puzzle a line"),
    "in groups": ("\n".join(" ".join(lines_of(p)) for p in PUZZLES), "a puzzle a line"),
    "a cell a column": ("\n".join(map(empty, PUZZLES)), "blanks spaces or nothing"),
    "a JSON array": ('[\n"' + '",\n"'.join(PUZZLES) + '"\n]', "a puzzle a line"),
    "a JSON array in one line": (json.dumps(PUZZLES), "a puzzle a line"),
    "JSON grids": (json.dumps([[list(row) for row in lines_of(p)] for p in PUZZLES], indent=1), "a puzzle a line"),
    "JSON grids, null": (json.dumps([[None if c == "." else int(c) for c in p] for p in PUZZLES]), "a puzzle a line"),
    "spaces that don't break": ("\n".join("\u00a0".join(lines_of(p)) for p in PUZZLES), "a puzzle a line"),
    "Python lists": (
        "\n".join(str([[int(c) for c in r.replace(".", "0")] for r in lines_of(p)]) for p in PUZZLES),
        "'0'",
    ),
}
TABLES: dict[str, tuple[str, str]] = {
    "Kaggle": (
        "quizzes,solutions\n" + "\n".join(f"{p.replace('.', '0')},{a}" for p, a in PAIRS),
        f"{COMMAS} 1 (quizzes)",
    ),
    "Kaggle's other": (
        "id,puzzle,solution,clues,difficulty\n" + "\n".join(f"{i},{p},{a},24,0.0" for i, (p, a) in enumerate(PAIRS)),
        f"{COMMAS} 2 (puzzle), answers in column 3 (solution), blanks '.'",
    ),
    "sudoku-extreme": (
        "source,question,answer,rating\n" + "\n".join(f'"a, b",{p},{a},3' for p, a in PAIRS),
        f"{COMMAS} 2 (question), answers in column 3 (answer)",
    ),
    "no header": ("\n".join(f"{p},{a}" for p, a in PAIRS), f"{COMMAS} 1, answers in column 2"),
    "the answer first": ("\n".join(f"{a};{p}" for p, a in PAIRS), "puzzles in column 2, answers in column 1"),
    "tabs, capitals, CRLF, BOM": (
        "\ufeffPUZZLE\tSOLUTION\r\n" + "\r\n".join(f"{p}\t{a}" for p, a in PAIRS),
        "a table with tabs between its columns, puzzles in column 1 (puzzle)",
    ),
    "quoted": ('"quiz","solved"\n' + "\n".join(f'"{p}","{a}"' for p, a in PAIRS), f"{COMMAS} 1 (quiz)"),
    "unknown names": ("a,b,c\n" + "\n".join(f"x,{p},{a}" for p, a in PAIRS), f"{COMMAS} 2, answers in column 3"),
    "JSON lines": ("\n".join(f'{{"p": "{p}", "s": "{a}"}}' for p, a in PAIRS), "its answer behind it"),
    "JSON records": (
        json.dumps([{"id": 7, "puzzle": p, "solution": a} for p, a in PAIRS], indent=2),
        f"{COMMAS} 2 (puzzle), answers in column 3 (solution)",
    ),
    "JSON records with grids": (
        json.dumps([{"question": lines_of(p), "answer": lines_of(a)} for p, a in PAIRS]),
        f"{COMMAS} 1 (question), answers in column 2 (answer)",
    ),
    "spaces": ("puzzle solution\n" + "\n".join(f"{p} {a}" for p, a in PAIRS), "its answer behind it"),
}
BOARDS: dict[str, tuple[str, str]] = {
    "plain": (boards(str), "boards of 9 lines, blanks '.'"),
    "one after the other": (boards(str, "\n"), "boards of 9 lines, without a line between two of them"),
    "Project Euler": (titled("Grid 0{}"), "boards of 9 lines, blanks"),
    "dated": (titled("2008-03-0{}"), "boards of 9 lines, blanks"),
    "comments": (titled("# {}"), "boards of 9 lines, blanks"),
    "=====": (boards(str, "\n========\n"), "boards of 9 lines, blanks"),
    "bars": (banded(grouped, "------+-------+------"), "boards of 9 lines"),
    "bars and dashes": (banded(lambda row: grouped(row.replace(".", "-")), "------+-------+------"), "blanks '-'"),
    "framed": (banded(lambda row: f"| {grouped(blank(row))} |", "+---+---+", "+-------+"), "blanks spaces or nothing"),
    "Simple Sudoku": (
        banded(lambda row: f" |{grouped(row, '', '|')}|", " |---+---+---|", " *-----------*"), "boards of 9 lines"
    ),
    "boxed": ("\n\n".join(map(boxed, PUZZLES)), "blanks spaces or nothing"),
    "ours": ("\n\n".join(map(NINE.render, BASE.inputs)), "boards of 9 lines"),
    "spaces for blanks": (boards(blank), "blanks spaces or nothing"),
    "a spreadsheet": (boards(empty), "blanks spaces or nothing"),
    "a spreadsheet, tabs": (boards(lambda row: empty(row, "\t")), "blanks spaces or nothing"),
    "Python lists": (boards(lambda row: f" [{', '.join(row.replace('.', '0'))}],"), "blanks '0'"),
    "bands apart": (banded(str, " "), "boards of 9 lines"),
    "rows apart": ("\n\n\n".join("\n\n".join(lines_of(p)) for p in PUZZLES), "boards of 9 lines"),
    "pencil marks": (boards(lambda row: " ".join("12" if c == "." else c for c in row)), "pencil marks left out"),
}  # fmt: skip


def read(path: Path, content: str | bytes, task: Task = NINE) -> tuple[str, list[Row]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    description, rows = read_rows(path, task)
    return description, list(rows)


def shown(rows: list[Row], task: Task = NINE) -> list[str]:
    """The puzzles, or the errors, in the task's own symbols."""
    return [row.error or task.format(task.parse(row.question)) for row in rows]


@pytest.mark.parametrize(
    ("text", "said"), [*LINES.values(), *BOARDS.values()], ids=[*LINES, *(f"{n} " for n in BOARDS)]
)
def test_puzzles_are_found_in_lines_and_boards(text: str, said: str, tmp_path: Path) -> None:
    description, rows = read(tmp_path / "in.txt", text)
    assert shown(rows) == PUZZLES
    assert said in description


@pytest.mark.parametrize(("text", "said"), TABLES.values(), ids=TABLES)
def test_puzzles_and_answers_are_found_in_tables(text: str, said: str, tmp_path: Path) -> None:
    description, rows = read(tmp_path / "in.csv", text)
    assert shown(rows) == PUZZLES
    assert [row.answer for row in rows] == ANSWERS
    assert said in description


def test_an_sdk_file_has_sections(tmp_path: Path) -> None:
    """The state of the game is no second puzzle."""
    begins, goes_on = (boards(str, puzzles=[board]) for board in (PUZZLES[0], ANSWERS[0]))
    text = f"#A someone\n#B03-08-2006\n[Puzzle]\n{begins}\n[State]\n{goes_on}\n[PencilMarks]\n1,2,3\n"
    description, rows = read(tmp_path / "in.sdk", text)
    assert shown(rows) == PUZZLES[:1]
    assert "[Puzzle]" in description


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda content: content.decode().encode("utf-16"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: b"R\xe4tsel\n" + content,
    ],
    ids=["gz", "bz2", "xz", "UTF-16", "CR", "Latin-1"],
)
def test_files_may_be_compressed_and_encoded(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    for text in (BOARDS["plain"][0], LINES["plain"][0]):
        assert shown(read(tmp_path / "in", packed(text.encode()))[1]) == PUZZLES


def test_standard_input_is_read_in_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress(BOARDS["framed"][0].encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(content))))
    assert shown(list(read_rows(STANDARD_STREAM, NINE).rows)) == PUZZLES
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PuzzleError, match="standard input must hold at least one puzzle"):
        read_rows(STANDARD_STREAM, NINE)


@pytest.mark.parametrize("task", [MAZE, QUEENS, FOUR, make_task("sudoku6x6")], ids=lambda task: task.name)
def test_boards_of_every_task_are_read(task: Task, tmp_path: Path) -> None:
    """In a maze # is a wall, not a comment, and a space is a cell."""
    side = int(task.seq_len**0.5)
    tokens = first(task, "test", 3).inputs
    puzzles = [task.format(row) for row in tokens]
    drawings: list[Callable[[str], str]] = [
        lambda board: board,
        lambda board: "\n".join(lines_of(board, side)),
        lambda board: "\n".join(lines_of(blank(board), side)),
        lambda board: "\n".join(f"| {' '.join(row)} |" for row in lines_of(board, side)),
        lambda board: task.render(task.read_grid(board)),
    ]
    for draw in drawings:
        assert shown(read(tmp_path / "in.txt", "\n\n".join(map(draw, puzzles)), task)[1], task) == puzzles
        assert [task.format(task.read_grid(read_board(task, draw(board)))) for board in puzzles] == puzzles


def test_queens_may_be_ones(tmp_path: Path) -> None:
    row = "Q......." + "." * 56
    text = "\n".join(" ".join(line) for line in lines_of(row.replace("Q", "1").replace(".", "0"), 8))
    assert shown(read(tmp_path / "in.txt", text, QUEENS)[1], QUEENS) == [row]


def test_a_bad_board_is_one_row_and_the_others_stay(tmp_path: Path) -> None:
    """A line too few, too many, too short, or of something else, wherever it is."""
    good, other = boards(str, puzzles=PUZZLES[:1]), boards(str, puzzles=PUZZLES[1:2])
    rows = good.split("\n")
    for bad, reason in (
        ("\n".join(rows[1:]), "a board must have 9 lines of 9 symbols; got 8 lines."),
        ("\n".join([*rows, rows[0]]), "a board must have 9 lines of 9 symbols; got 10 lines."),
        ("\n".join([*rows[:4], rows[4][1:], *rows[5:]]), "a row must have 9 symbols; line"),
        ("\n".join([*rows[:4], "9" + rows[4], *rows[5:]]), "a row must have 9 symbols; line"),
    ):
        for texts in ([bad, good, other], [good, bad, other], [good, other, bad]):
            description, found = read(tmp_path / "in.txt", "\n\n".join(texts))
            place = texts.index(bad)
            assert [row.error is None for row in found] == [number != place for number in range(3)]
            assert reason in str(found[place].error)
            assert [row.question for row in found if not row.error] == PUZZLES[:2]
            assert description.startswith("boards of 9 lines, blanks")


def test_bad_rows_of_tables_and_lines_have_their_reasons(tmp_path: Path) -> None:
    good, answer = PAIRS[0]
    text = (
        f'id,puzzle,solution\n1,{good[1:]},{answer}\n2,{good},{answer}\n3\n4,{"z" + good[1:]},\n5,{good},\n6,"{good}\n'
    )
    rows = read(tmp_path / "in.csv", text)[1]
    assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7]
    assert [row.error is None for row in rows] == [False, True, False, False, True, False]
    assert [row.answer for row in rows if not row.error] == [answer, None]
    for row, reason in ((rows[0], "got 80"), (rows[2], "the row is shorter than the header"), (rows[3], "got 'z'")):
        assert reason in str(row.error)
    rows = read(tmp_path / "in.csv", f"{good[1:]},{answer}\n{good},{answer}\n")[1]
    assert [(row.question, bool(row.error)) for row in rows] == [(good[1:], True), (good, False)]
    rows = read(tmp_path / "in.txt", f"{good}\n{'x' * 200_000}\n{good}\n")[1]
    assert [(row.line, bool(row.error)) for row in rows] == [(1, False), (2, True), (3, False)]
    content = f"{good}\n".encode() + b"\xff\xfe\x00 no text\n" + f"[Easy]\n{good} 1.5\n".encode()
    rows = read(tmp_path / "in.txt", content)[1]
    assert [bool(row.error) for row in rows] == [False, True, True, True]


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("first,second,third\n" + "\n".join(f"{p},{p},{a}" for p, a in PAIRS))
    with pytest.raises(PuzzleError, match=r"line 2 has 3 boards, and which is the puzzle can't be told\..*--columns"):
        read_rows(path, NINE)
    for columns in (("Second", "third"), ("2", "3"), ("second", "3")):
        rows = list(read_rows(path, NINE, columns).rows)
        assert [(row.question, row.answer, row.error) for row in rows] == [(p, a, None) for p, a in PAIRS]
    for columns, message in ((("thrid",), "did you mean 'third'"), (("4",), "unknown column '4'"), (("0",), "from 1")):
        with pytest.raises(LatentRLError, match=message):
            read_rows(path, NINE, columns)
    path.write_text("\n".join(f"{p} {a}" for p, a in PAIRS))
    assert [row.question for row in read_rows(path, NINE, ("1",)).rows] == PUZZLES
    with pytest.raises(UnknownNameError):
        read_rows(path, NINE, ("puzzle",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (boards(str, puzzles=[PUZZLES[0][:72]]), "line 1: a board must have 9 lines of 9 symbols; got 8 lines"),
        (PUZZLES[0][1:], "line 1: a sudoku9x9 puzzle must have 81 symbols; got 80"),
        ("Dear Sudoku,\n", "line 1: a sudoku9x9 puzzle must have 81 symbols; got 12"),
        (FOUR.render(first(FOUR, "test", 1).inputs[0]), "It is one of sudoku4x4: use --task sudoku4x4"),
        ("1" + "." * 35, "use --task sudoku6x6"),
        (",,,\n", "must hold at least one puzzle"),
    ],
)
def test_a_text_without_puzzles_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PuzzleError, match=message):
        read(tmp_path / "in.txt", text)
    with pytest.raises(PuzzleError, match=message):
        read_board(NINE, text)


def test_a_damaged_archive_gives_its_rows_first(tmp_path: Path) -> None:
    path = tmp_path / "in.txt.gz"
    whole = gzip.compress("\n".join(PUZZLES * 200).encode())
    path.write_bytes(whole[: len(whole) // 2])
    rows = read_rows(path, NINE).rows
    assert next(rows).question == PUZZLES[0]
    with pytest.raises(
        PuzzleError, match=r"in\.txt\.gz, line \d+, must be a readable text file: Compressed file ended"
    ):
        list(rows)


def test_damaged_files_give_rows_or_one_line(tmp_path: Path) -> None:
    texts = [text for group in (LINES, TABLES, BOARDS) for text, _ in group.values()]
    random_ = random.Random(0)
    for _ in range(300):
        content = bytearray(random_.choice(texts).encode())
        for _ in range(random_.randrange(1, 4)):
            place = random_.randrange(len(content))
            size = random_.randrange(1, 40)
            content[place : place + size] = random_.choice(
                [b"", random_.randbytes(size), bytes(random_.choices(b"019.|-+ ,;\t\n\"'#[]/\\", k=size))]
            )
        reasons = []
        try:
            read(tmp_path / "in", bytes(content))
        except LatentRLError as error:
            reasons.append(str(error))
        assert not any("\n" in reason for reason in reasons)


def test_evaluate_leaves_bad_rows_out_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.csv"
    base = first(FOUR, "test", 3)
    good = [f"{FOUR.format(q)},{FOUR.format(a)}" for q, a in zip(base.inputs, base.labels, strict=True)]
    path.write_text(
        "puzzle,solution\n" + "\n".join([*good[:2], "11" + "." * 14 + ",", good[0][:17] + "1" * 16, good[2]])
    )
    found = collect_puzzles(path, FOUR)
    assert torch.equal(found.puzzles.labels, base.labels)
    assert [reason[:7] for reason in found.left_out] == ["line 4:", "line 5:"]
    with pytest.raises(PuzzleError, match=r"in\.csv, line 4: the givens contradict"):
        read_puzzles(path, FOUR)
    arguments = ["--task", "sudoku4x4", "--reasoner", "sudoku4x4", "--steps", "1", "--puzzles", str(path)]
    assert cli.run(["evaluate", *arguments, "--columns", "puzzle", "solution", "--json"]) == 0
    captured = capsys.readouterr()
    assert '"num_left_out": 2' in captured.out
    assert "3 puzzles, a table with commas" in captured.err
    assert "2 rows are left out, the first: line 4: the givens contradict" in captured.err
    path.write_text("puzzle\n11" + "." * 14)
    with pytest.raises(PuzzleError, match=r"in\.csv, line 2: the givens contradict"):
        collect_puzzles(path, FOUR)


@pytest.mark.parametrize(
    "name", ["Kaggle", "Kaggle's other", "no header", "the answer first", "tabs, capitals, CRLF, BOM"]
)
def test_a_folder_holds_tables_of_any_kind(name: str, tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"{part}.csv").write_text(TABLES[name][0])
    task = make_task(str(tmp_path))
    assert [NINE.format(row) for row in task.puzzles("test").select(torch.arange(3)).inputs] == PUZZLES
    assert torch.equal(task.puzzles("test").select(torch.arange(3)).labels, BASE.labels)


def test_a_task_may_read_its_lines_in_a_way_of_its_own(tmp_path: Path) -> None:
    """One that does not know a board by a symbol for each cell still reads a puzzle a line."""

    class Sums(Task):
        name, seq_len, symbols = "sums", 3, "?0123456789"

        def puzzles(self, split: str) -> Puzzles:
            raise NotImplementedError

        def is_given(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs > 1

        def verify(self, inputs: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
            return (inputs == answers).all(1)

        def read_grid(self, text: str) -> torch.Tensor:
            if text.count("+") != 1:
                raise PuzzleError("a sum must have one +.")
            return torch.tensor([int(term) + 1 for term in text.replace("=", "+").split("+")])

    description, rows = read(tmp_path / "in.txt", "# sums\n1+2=3\n\n10+2=4\n", Sums())
    assert [row.question for row in rows] == ["1+2=3", "10+2=4"]
    assert description == "a puzzle a line"
