"""Pictures of boards with stones."""

from __future__ import annotations

import torch

__all__ = ["board_picture"]

FIELD = 48
"""Pixels of a field's side."""

PAPER, LINE, STONES = (245, 240, 230), (120, 110, 100), ((40, 80, 160), (200, 60, 50))


def board_picture(board: torch.Tensor) -> torch.Tensor:
    """Draws a board: blue discs for player 0, red ones for player 1.

    Args:
        board: integers ``[rows, columns]``: -1 where a field is empty, else who holds it.

    Returns:
        uint8 ``[48 * rows, 48 * columns, 3]``, RGB.

    Examples:
        >>> picture = board_picture(torch.tensor([[0, -1], [-1, 1]]))
        >>> picture.shape, picture[24, 24].tolist(), picture[72, 72].tolist()
        (torch.Size([96, 96, 3]), [40, 80, 160], [200, 60, 50])
    """
    board = board.cpu()
    held = board.repeat_interleave(FIELD, 0).repeat_interleave(FIELD, 1)
    place = torch.arange(FIELD) - (FIELD - 1) / 2
    disc = (place.square() + place.square().unsqueeze(-1) < (0.4 * FIELD) ** 2).tile(board.shape)
    edge = (place.abs() > FIELD / 2 - 1).unsqueeze(-1) | (place.abs() > FIELD / 2 - 1)
    picture = torch.tensor(PAPER, dtype=torch.uint8).repeat(*held.shape, 1)
    picture[edge.tile(board.shape)] = torch.tensor(LINE, dtype=torch.uint8)
    for player, colour in enumerate(STONES):
        picture[disc & (held == player)] = torch.tensor(colour, dtype=torch.uint8)
    return picture
