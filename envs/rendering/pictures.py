"""Boards as pictures: pixels in a millisecond, from a cache of tiles.

The colours are those that colour-blind people tell apart (Okabe and Ito); weight, corner marks and hatching say the
same without colour. To draw a task in its own way, add an entry to `FIGURES`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latent_rl.envs.rendering.boards import Board, Kind
from latent_rl.tasks.arc.grids import END, FIRST_COLOUR
from latent_rl.tasks.arc.task import Arc
from latent_rl.tasks.maze.task import FREE, GOAL, PAD, PATH, START, WALL, Maze
from latent_rl.tasks.nqueens.task import QUEEN, NQueens

INK, GREY, GRID = "#1c1c22", "#5c5c66", "#c9c9d2"
BLUE, SKY, ORANGE, VERMILION, GREEN, PURPLE = "#0072b2", "#d9ecf8", "#e69f00", "#c94a00", "#00835f", "#8f4f7b"
PAPER, GIVEN_PAPER, WALL_PAPER, LIGHT_SQUARE, DARK_SQUARE = "#ffffff", "#e9e9ee", "#454b5a", "#f7f3ea", "#e2d8c6"
CHANGED = {PAPER: "#fff3c9", SKY: "#e9efcf", LIGHT_SQUARE: "#fcedb0", DARK_SQUARE: "#efdb94"}
COMMITTED = {PAPER: SKY}
"""The ground of marked cells, by their ground without the mark; others keep theirs."""
ARC_COLOURS = (
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25"
)  # fmt: skip
_SCALE = 4
"""Tiles are drawn so many times larger, then reduced: smooth edges."""
_RULE = 60
"""Grey of the lines between boxes and around the board."""
_MARGIN, _HEAD, _FOOT, _LEAST_WIDTH = 14, 66, 28, 340
Place = tuple[int, int]
"""Row and column."""


class Tile(NamedTuple):
    """What one cell looks like.

    Attributes:
        size: its side in pixels.
        symbol: what is written in it.
        paper: colour of its ground.
        ink: colour of what is written or drawn.
        bold: written in bold.
        grid: colour of the line at its right and lower edge; empty for none.
        links: sides to which a path leads, as bits: up, down, left, right; negative for no path.
        disc: the symbol stands on a disc of ink.
        committed: marked by a triangle in the corner.
        changed: marked by a dot in the corner.
        wrong: hatched, and struck through if it holds anything.
    """

    size: int
    symbol: str = ""
    paper: str = PAPER
    ink: str = INK
    bold: bool = False
    grid: str = GRID
    links: int = -1
    disc: bool = False
    committed: bool = False
    changed: bool = False
    wrong: bool = False


def _written(board: Board, size: int, place: Place, token: int, symbol: str, kind: Kind) -> Tile:
    """The symbol of the task's text: givens bold on grey."""
    ink = {"given": INK, "committed": BLUE, "answer": BLUE, "blank": GREY}[kind]
    paper = GIVEN_PAPER if kind == "given" else PAPER
    is_bold = kind in ("given", "committed")
    return Tile(size, "" if kind == "blank" and symbol in ". _0" else symbol, paper, ink, is_bold)


def _queen(board: Board, size: int, place: Place, token: int, symbol: str, kind: Kind) -> Tile:
    """Queens on a chess board: given ones black, others outlined until they are committed."""
    paper = DARK_SQUARE if sum(place) % 2 else LIGHT_SQUARE
    if token != QUEEN:
        return Tile(size, "", paper, grid="")
    ink = INK if kind == "given" else BLUE
    return Tile(size, "♕" if kind == "answer" else "♛", paper, ink, grid="")


def _maze(board: Board, size: int, place: Place, token: int, symbol: str, kind: Kind) -> Tile:
    """Walls dark, start and goal on discs, the path a line."""
    if token in (WALL, PAD):
        return Tile(size, "", WALL_PAPER, grid="")
    links = -1
    if token in (PATH, START, GOAL):
        row, column = place
        near = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        onto = (PATH,) if token != PATH else (PATH, START, GOAL)
        links = sum(1 << side for side, cell in enumerate(near) if _token_at(board, cell) in onto)
    if token == PATH:
        return Tile(size, "", PAPER, BLUE, grid="", links=links)
    if token == FREE:
        return Tile(size, "", PAPER, grid="")
    return Tile(size, symbol, PAPER, GREEN if token == START else PURPLE, True, "", links, disc=True)


def _token_at(board: Board, place: Place) -> int | None:
    """The answer's token at a row and column of a square board, row by row; None outside of it."""
    (row, column), (height, width) = place, board.layout.shape
    inside = 0 <= row < height and 0 <= column < width
    return int(board.answer[row * width + column]) if inside else None


def _arc(board: Board, size: int, place: Place, token: int, symbol: str, kind: Kind) -> Tile:
    """ARC's ten colours; what lies outside of the grid is pale."""
    if token < FIRST_COLOUR:
        return Tile(size, "", "#dcdce2" if token == END else "#f4f4f6", grid="#e6e6ea")
    return Tile(size, "", ARC_COLOURS[token - FIRST_COLOUR], grid="#77777f")


Figure = Callable[[Board, int, Place, int, str, Kind], Tile]
"""A cell's tile, but for the marks, from board, size in pixels, row and column, token, symbol and kind."""
FIGURES: dict[type, Figure] = {NQueens: _queen, Maze: _maze, Arc: _arc}
"""By the task's class or a base of it; others are written."""


def picture(board: Board, title: str = "") -> np.ndarray:
    """Draw a board, with the state of its episode above and what its marks count below.

    Args:
        board: what to draw; all boards of a task have the same size.
        title: stands before the step's number.

    Returns:
        uint8 [H, W, 3]; H and W are even, as videos want them.
    """
    from PIL import Image, ImageDraw

    rows, columns = board.layout.shape
    is_beside = not board.layout.is_filled and columns <= 2 * rows
    size = cell_size(columns * (2 if is_beside else 1))
    content = _panel(board, size)
    if not board.layout.is_filled:  # the puzzle, an arrow, the answer: beside or below each other
        axis, puzzle = int(is_beside), _panel(_puzzle_of(board), size)
        gap = _arrow("→" if is_beside else "↓", puzzle.shape[1 - axis], axis)
        content = np.concatenate([puzzle, gap, content], axis=axis)
    height, width = content.shape[0], max(_LEAST_WIDTH, content.shape[1] + 2 * _MARGIN)
    frame = np.full((_HEAD + height + height % 2 + _FOOT, width + width % 2, 3), 255, dtype=np.uint8)
    left = (frame.shape[1] - content.shape[1]) // 2
    frame[_HEAD : _HEAD + height, left : left + content.shape[1]] = content
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    _draw_head(draw, image.width, board, title)
    _draw_foot(image, draw, board)
    return np.array(image)


@lru_cache(maxsize=8)
def _arrow(sign: str, length: int, axis: int) -> np.ndarray:
    """What stands between two panels, uint8 [length, gap, 3] if they stand beside each other (axis 1)."""
    from PIL import Image, ImageDraw

    sides = (3 * _MARGIN, length) if axis else (length, 3 * _MARGIN)
    image = Image.new("RGB", sides, PAPER)
    middle = (sides[0] / 2, sides[1] / 2)
    ImageDraw.Draw(image).text(middle, sign, fill=GREY, font=_font(22, False), anchor="mm")
    return np.array(image)


def _puzzle_of(board: Board) -> Board:
    """The board of the puzzle alone."""
    nothing = np.zeros_like(board.changed)
    kinds: list[Kind] = ["given"] * len(board.kinds)
    return replace(board, answer=board.puzzle, kinds=tuple(kinds), changed=nothing, wrong=nothing)


def cell_size(columns: int) -> int:
    """The side of a cell in pixels, on a board of so many columns."""
    return min(64, max(10 if columns > 40 else 14, 360 // columns))


def _panel(board: Board, size: int) -> np.ndarray:
    """One board without its surroundings, uint8 [H, W, 3]."""
    layout = board.layout
    figure = next((FIGURES[kind] for kind in type(board.task).__mro__ if kind in FIGURES), _written)
    places = zip(layout.rows.tolist(), layout.columns.tolist(), strict=True)
    marks = zip(board.changed.tolist(), board.wrong.tolist(), strict=True)
    cells = zip(places, board.answer.tolist(), board.symbols, board.kinds, marks, strict=True)
    height, width = layout.shape
    pixels = [[_pixels(Tile(size, grid=""))] * width for _ in range(height)]
    for (row, column), token, symbol, kind, (changed, wrong) in cells:
        is_open = kind == "blank" and not layout.is_filled
        tile = Tile(size) if is_open else figure(board, size, (row, column), token, symbol, kind)
        committed = kind == "committed"
        if changed or committed or wrong:
            tile = _marked(tile, changed, committed, wrong)
        pixels[row][column] = _pixels(tile)
    framed = np.full((size * height + 4, size * width + 4, 3), _RULE, dtype=np.uint8)
    for row, line in enumerate(pixels):
        framed[2 + row * size : 2 + (row + 1) * size, 2:-2] = np.concatenate(line, axis=1)
    for row in layout.across:
        framed[2 + row * size - 2 : 2 + row * size + 1] = _RULE
    for column in layout.down:
        framed[:, 2 + column * size - 2 : 2 + column * size + 1] = _RULE
    return framed


def _marked(tile: Tile, changed: bool, committed: bool, wrong: bool) -> Tile:
    """The tile with its marks, on the ground that goes with them."""
    paper = COMMITTED.get(tile.paper, tile.paper) if committed else tile.paper
    paper = CHANGED.get(paper, paper) if changed else paper
    ink = VERMILION if wrong and tile.ink == BLUE else tile.ink
    return tile._replace(paper=paper, ink=ink, committed=committed, changed=changed, wrong=wrong)


@lru_cache(maxsize=2048)
def _pixels(tile: Tile) -> np.ndarray:
    """A tile as uint8 [size, size, 3]."""
    from PIL import Image, ImageDraw

    side = tile.size * _SCALE
    image = Image.new("RGB", (side, side), tile.paper)
    draw = ImageDraw.Draw(image)
    is_dark = sum(_rgb(tile.paper)) < 350
    if tile.wrong:
        is_pale = tile.paper in CHANGED or tile.paper in CHANGED.values()
        hatch = "#eeb090" if is_pale else "#ffffff" if is_dark else INK
        step = max(side // (5 if is_pale else 3), 3 * _SCALE)
        for start in range(-side, side, step):
            draw.line([(start, side), (start + side, 0)], fill=hatch, width=max(_SCALE, side // 40))
    if tile.links >= 0:
        _draw_path(draw, tile, side)
    if tile.disc:
        _draw_disc(draw, side / 2, side / 2, 0.42 * side, tile.ink, None)
    if tile.symbol:
        ink = "#ffffff" if tile.disc else tile.ink
        share = 0.8 if tile.symbol in "♕♛" else 0.6 if len(tile.symbol) == 1 else 0.9 / len(tile.symbol)
        font = _font(max(8, round(share * side)), tile.bold)
        if tile.symbol == "♕":  # white inside
            draw.text((side / 2, side / 2), "♛", fill="#ffffff", font=font, anchor="mm")
        draw.text((side / 2, side / 2), tile.symbol, fill=ink, font=font, anchor="mm", stroke_width=tile.symbol == "♕")
    if tile.wrong and tile.symbol:
        edge = 0.2 * side
        width = max(int(1.5 * _SCALE), round(side / 22))
        draw.line([(edge, side - edge), (side - edge, edge)], fill=VERMILION, width=width)
    if tile.committed:
        corner = max(5.5 * _SCALE, 0.24 * side)
        draw.polygon([(0, side), (0, side - corner), (corner, side)], fill=INK if not is_dark else "#ffffff")
    if tile.changed:
        radius = max(1.8 * _SCALE, 0.085 * side)
        _draw_disc(draw, side - 1.7 * radius, 1.7 * radius, radius, ORANGE, "#ffffff" if is_dark else INK)
    small = np.array(image.reduce(_SCALE))
    if tile.grid:
        small[-1, :] = small[:, -1] = _rgb(tile.grid)
    small.setflags(write=False)
    return small


def _draw_path(draw: Any, tile: Tile, side: int) -> None:
    """The lines of a path from the middle to the sides that it leads to; hollow if they are wrong."""
    middle, ink = side / 2, BLUE if tile.disc else tile.ink
    strokes = [(0.15 * side, ink), (0.06 * side, tile.paper)] if tile.wrong else [(0.15 * side, ink)]
    ends = ((middle, 0), (middle, side), (0, middle), (side, middle))
    for half, colour in strokes:
        for number, (x, y) in enumerate(ends):
            if tile.links >> number & 1:
                across, along = half * (x == middle), half * (y == middle)
                left, top, right, bottom = min(x, middle), min(y, middle), max(x, middle), max(y, middle)
                draw.rectangle((left - across, top - along, right + across, bottom + along), fill=colour)
        if not tile.disc:
            _draw_disc(draw, middle, middle, half if tile.links else 2 * half, colour, None)


def _draw_disc(draw: Any, x: float, y: float, radius: float, fill: str, outline: str | None) -> None:
    box = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(box, fill=fill, outline=outline, width=_SCALE if outline else 0)


def _draw_head(draw: Any, width: int, board: Board, title: str) -> None:
    """Step and action, the horizon as a bar, passes, restarts and confidence."""
    left, right, bold, small = _MARGIN, width - _MARGIN, _font(15, True), _font(12, False)
    colour, action = PURPLE if board.restarted else BLUE if board.action else GREY, board.caption
    if board.restarted:
        action = f"↻ {action}"
    if board.outcome:
        colour = {"solved": GREEN, "not solved": VERMILION}.get(board.outcome, INK)
        action = {"solved": "✓ solved", "not solved": "✗ not solved"}.get(board.outcome, board.outcome)
    action = _fitting(action, small, (right - left) / 2 - 16)
    pill = right - small.getlength(action) - 16
    draw.rounded_rectangle((pill, 8, right, 28), radius=10, fill=colour)
    draw.text(((pill + right) / 2, 18), action, fill="#ffffff", font=small, anchor="mm")
    step = f"step {board.step} of {board.horizon}"
    room = pill - left - 8 - bold.getlength(f"{step}  ")
    step = f"{_fitting(title, bold, room)}  {step}" if title else step
    draw.text((left, 18), step, fill=INK, font=bold, anchor="lm")
    at = [left + (right - left) * steps / board.horizon for steps in (board.step - board.age, board.step)]
    draw.rectangle((left, 35, right, 40), fill="#e4e4ea")
    draw.rectangle((left, 35, at[0], 40), fill="#a9bccb")
    if board.age:
        draw.rectangle((at[0], 35, at[1], 40), fill=BLUE)
    confidence = "-" if board.confidence is None else f"{board.confidence:.3f}"
    passes, confidence = f"passes {board.passes}", f"least confidence {confidence}"
    middle = (left + small.getlength(passes) + right - small.getlength(confidence)) / 2
    draw.text((left, 53), passes, fill=GREY, font=small, anchor="lm")
    draw.text((middle, 53), f"restarts {board.restarts}", fill=GREY, font=small, anchor="mm")
    draw.text((right, 53), confidence, fill=GREY, font=small, anchor="rm")


def _draw_foot(image: Any, draw: Any, board: Board) -> None:
    """The marks that occur, and how often."""
    from PIL import Image

    x, y, font = float(_MARGIN), image.height - _FOOT // 2, _font(12, False)
    for name, count in board.counts.items():
        if count:
            marks = {mark: mark == name for mark in board.counts}
            icon = Tile(16, "5" if name == "wrong" else "", grid="", ink=BLUE)
            image.paste(Image.fromarray(_pixels(_marked(icon, **marks))), (int(x), y - 8))
            draw.rectangle((int(x), y - 8, int(x) + 15, y + 7), outline=GRID)
            text = f"{count} {name}"
            draw.text((x + 22, y), text, fill=GREY, font=font, anchor="lm")
            x += 22 + font.getlength(text) + 16


def _fitting(text: str, font: Any, room: float) -> str:
    """The text, cut where it does not fit."""
    while text and font.getlength(text) > room:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text


@lru_cache(maxsize=64)
def _font(size: int, bold: bool) -> Any:
    """DejaVu Sans, as matplotlib ships it."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=64)
def _rgb(colour: str) -> tuple[int, int, int]:
    """Of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
