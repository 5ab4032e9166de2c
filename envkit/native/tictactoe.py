"""Noughts and crosses."""

from __future__ import annotations

import torch

from envkit.native.board_game import BoardGameEnv

__all__ = ["TicTacToeEnv", "tictactoe_won"]


def tictactoe_won(board: torch.Tensor, player: torch.Tensor) -> torch.Tensor:
    """Whether a player has three in a row.

    Args:
        board: integers, shape ``[*batch, 3, 3]``: -1 where a field is empty, else who holds it.
        player: integers, shape ``[*batch, 1]``.

    Returns:
        bool, shape ``[*batch, 1]``.

    Examples:
        >>> board = torch.tensor([[0, 1, 1], [-1, 0, -1], [-1, -1, 0]])
        >>> tictactoe_won(board, torch.tensor([0])), tictactoe_won(board, torch.tensor([1]))
        (tensor([True]), tensor([False]))
    """
    held = board == player.unsqueeze(-1)
    straight = held.all(-1).any(-1, keepdim=True) | held.all(-2).any(-1, keepdim=True)
    falling, rising = (grid.diagonal(0, -2, -1).all(-1, keepdim=True) for grid in (held, held.flip(-1)))
    return straight | falling | rising


class TicTacToeEnv(BoardGameEnv):
    """Tic-tac-toe, for two players or one, for any number of boards at once and on any device.

    =========================== =========================== =================================================
    entry                       dtype and shape             content
    =========================== =========================== =================================================
    board                       int8 ``[*batch, 3, 3]``     -1 where a field is empty, else who holds it
    turn                        int8 ``[*batch, 1]``        whose move it is: 0 or 1; player 0 begins
    mask                        bool ``[*batch, 9]``        fields that may be taken, row by row; all of them
                                                            once the game is over, so that distributions over
                                                            moves stay proper
    observation                 float32 ``[*batch, 18]``    (``include_observation``) 1 where whoever is to
                                                            move holds a field, then 1 where the other one does
    action                      int64 ``[*batch]``          the field to take, row by row
    player0.reward,             float32 ``[*batch, 1]``     1 for the winner and -1 for the loser at the end
    player1.reward                                          of a game, 0 otherwise
    terminated                  bool ``[*batch, 1]``        the game is won or drawn
    =========================== =========================== =================================================

    With ``single_player=True`` there is one ``reward``, that of the player whom the actions are of. The opponent
    answers within the same step, and opens the game, within the reset, if that player is 1: ``turn`` stays what it is.
    :meth:`set_opponent` exchanges the opponent, for a copy of what is being trained, say.

    With ``opponent="self"`` the actions are those of both players in turn, and the ``reward`` is that of whoever made
    the move. What follows is then the other's gain: an agent with a discount factor of -1 learns by playing both.

    Random actions (rollouts without a policy, :meth:`rand_action`) are drawn among the fields that may be taken. A
    field that may not, or any field of a board whose game is over, is an error, except on boards that a ``"_step"``
    mask leaves out. With ``illegal_moves="lose"``, and wherever the step is compiled, whoever does it loses the game.

    Args:
        single_player: whether the actions are those of one player, or of one after the other with a reward for each.
        device: device of inputs and outputs.
        batch_size: a batch size of the env's own; without one it goes by that of its input.
        illegal_moves: ``"raise"`` or ``"lose"``. The former looks at the values of every step, which makes the host
            wait for a GPU.
        opponent: against whom the single player plays: ``"random"`` moves, which is the default; ``"minimax"``, which
            draws among the best moves there are; ``"self"``; or a policy, which sees the game as its player does.
        player: which player the single player is, 0 or 1; None draws it anew for each game.
        search_depth: how many moves ``"minimax"`` looks ahead; to the end of the game by default.
        include_observation: whether there is an ``observation``.

    Raises:
        InvalidActionError: at a step with an illegal move.
        ValueError: an argument is none of these, or does not go with the others.
        PolicyError: at a step, if the opponent's policy gives no action of the batch's shape.

    Examples:
        >>> from tensordict import TensorDict
        >>> env = TicTacToeEnv()
        >>> data = env.rollout(9, tensordict=TensorDict({}, [100]), break_when_all_done=True)
        >>> (data["next", "player0", "reward"] + data["next", "player1", "reward"]).abs().max()
        tensor(0.)
        >>> env = TicTacToeEnv(single_player=True, opponent="minimax", player=1)
        >>> (env.reset()["board"] == 0).sum()
        tensor(1)
    """

    fields = (3, 3)
    moves = 9
    depth = 9

    @staticmethod
    def moved(board: torch.Tensor, player: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`BoardGameEnv.moved`: a field is taken."""
        board = board.flatten(-2).scatter(-1, action, player).unflatten(-1, (3, 3))
        return board, tictactoe_won(board, player)

    @staticmethod
    def legal(board: torch.Tensor) -> torch.Tensor:
        """See :meth:`BoardGameEnv.legal`: fields that are empty."""
        return board.flatten(-2) == -1
