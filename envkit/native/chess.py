"""Chess, by python-chess."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase

from envkit.core.env import EnvBase
from envkit.errors import InvalidActionError, MissingDependencyError
from envkit.specs import Bounded, Categorical, Composite, NonTensor, Unbounded

__all__ = ["ChessEnv"]

MOST_LEGAL_MOVES = 218
"""The most that a position can have (Petrovic, 1964)."""


class ChessEnv(EnvBase):
    """Chess for two players who take turns, by `python-chess <https://python-chess.readthedocs.io>`_.

    ================== ============================= ====================================================
    entry              dtype and shape               content
    ================== ============================= ====================================================
    board              int8 ``[8, 8]``               ranks 1 to 8 of files a to h: 0 where a square is
                                                     empty, 1 to 6 for a pawn, knight, bishop, rook, queen
                                                     and king, negative for black
    turn               bool ``[1]``                  whether it is white's move
    action             int64 ``[]``                  number of a move in :attr:`moves`
    reward             float32 ``[1]``               1 for whoever mates, 0 otherwise: for the player who
                                                     made the move
    terminated         bool ``[1]``                  mate, stalemate, insufficient material, fivefold
                                                     repetition, 75 moves without capture or pawn move
    action_mask        bool ``[1968]``               legal moves (``mask_actions``); all of them once the
                                                     game is over, so that distributions stay proper
    legal_moves        int64 ``[218]``               numbers of the legal moves in ascending order, then -1
                                                     (``include_legal_moves``)
    hash               int64 ``[1]``                 Zobrist hash of the position (``include_hash``)
    fen, pgn, san      str                           the position, the game so far, and the last move, ``""``
                                                     before the first (``include_fen``, ``include_pgn``,
                                                     ``include_san``)
    ================== ============================= ====================================================

    Actions are numbered by their UCI notation, of which there are 1,968 (every move of a queen or a knight on an
    empty board, and promotions), whatever the position; :attr:`moves` lists them in alphabetic order. Random actions
    (rollouts without a policy, :meth:`rand_action`) are drawn among the legal ones.

    A stateful env has one game, which it plays on whatever TensorDict it is given. With ``stateful=False`` a step
    starts from the position in its input's ``"fen"``, and so does a reset if there is one and it is not the reset of
    a game that ended: data can be stepped in any order, as in a tree search. Repetitions of positions do not end a
    game then, for a FEN does not tell them. The env has no batch; batches are made of several.

    Args:
        stateful: whether the env keeps the game.
        include_san, include_fen, include_pgn, include_legal_moves, include_hash, mask_actions: which entries there are.
            Without state ``fen`` always is.
        fen: the position to start from; the usual one by default.
        device: device of inputs and outputs.

    Raises:
        MissingDependencyError: python-chess is not installed.
        InvalidActionError: at a step with an illegal move.
        ValueError: ``fen`` is no position.

    Examples:
        >>> env = ChessEnv(include_san=True, include_fen=True)
        >>> td = env.reset()
        >>> td["action"] = torch.tensor(env.moves.index("e2e4"))
        >>> td = env.step(td)
        >>> td["next", "san"], td["next", "fen"]
        ('e4', 'rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1')
    """

    def __init__(
        self,
        stateful: bool = True,
        include_san: bool = False,
        include_fen: bool = False,
        include_pgn: bool = False,
        include_legal_moves: bool = False,
        include_hash: bool = False,
        mask_actions: bool = True,
        *,
        fen: str | None = None,
        device: torch.device | str | int | None = None,
    ) -> None:
        super().__init__(device=device)
        self.stateful = stateful
        self._fen = _library().STARTING_FEN if fen is None else fen
        self._board = _library().Board(self._fen)
        self._texts = [
            name
            for name, wanted in (("fen", include_fen or not stateful), ("pgn", include_pgn), ("san", include_san))
            if wanted
        ]
        self._listed, self._hashed, self._masked = include_legal_moves, include_hash, mask_actions
        observation: dict[str, Any] = {
            "board": Bounded(-6, 6, (8, 8), dtype=torch.int8),
            "turn": Categorical(2, (1,), dtype=torch.bool),
            **{name: NonTensor((), example_data=self._fen if name == "fen" else "") for name in self._texts},
        }
        if mask_actions:
            observation["action_mask"] = Categorical(2, (len(self.moves),), dtype=torch.bool)
        if include_legal_moves:
            observation["legal_moves"] = Bounded(-1, len(self.moves) - 1, (MOST_LEGAL_MOVES,), dtype=torch.int64)
        if include_hash:
            observation["hash"] = Unbounded((1,), dtype=torch.int64)
        self.observation_spec = Composite(observation)
        if not stateful:
            self.state_spec = Composite(fen=NonTensor((), example_data=self._fen))
        self.action_spec = Categorical(len(self.moves))
        self.reward_spec = Unbounded((1,), dtype=torch.float32)

    @property
    def moves(self) -> tuple[str, ...]:
        """All moves in UCI notation; an action is an index."""
        return _all_moves()

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Writes a random legal move in the position at hand; see :class:`~envkit.EnvBase`."""
        if tensordict is None:
            tensordict = TensorDict({}, device=self._device)
        numbers = self._legal(self._board_of(tensordict)) or range(len(self.moves))
        pick = int(torch.randint(len(numbers), (), generator=self._runtime.generator, device=self._device))
        return tensordict.set("action", torch.tensor(numbers[pick], device=self._device))

    def _set_seed(self, seed: int | None) -> None:
        """Nothing is random but the actions."""

    def _board_of(self, tensordict: TensorDictBase | None) -> Any:
        """The game that stands in the data, or that of the env."""
        fen = None if self.stateful or tensordict is None else tensordict.get("fen", None)
        return self._board if fen is None else _library().Board(fen if isinstance(fen, str) else fen.data)

    def _legal(self, board: Any) -> list[int]:
        """Numbers of the legal moves, in ascending order."""
        return [] if board.is_game_over() else sorted(_numbers()[move.uci()] for move in board.legal_moves)

    def _reset(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        given = tensordict is not None and "_reset" not in tensordict and tensordict.get("fen", None) is not None
        self._board = self._board_of(tensordict) if given and not self.stateful else _library().Board(self._fen)
        return self._shown(self._board, "")

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        board = self._board_of(tensordict)
        action = int(tensordict["action"])
        uci = self.moves[action] if 0 <= action < len(self.moves) else None
        move = None if uci is None else _library().Move.from_uci(uci)
        if move is None or board.is_game_over() or not board.is_legal(move):
            raise InvalidActionError(
                f"'action': expected a legal move in {board.fen()}, found {action} "
                f"({'beyond the moves' if uci is None else uci})"
            )
        san = board.san(move) if "san" in self._texts else ""
        board.push(move)
        out = self._shown(board, san)
        out["reward"] = torch.tensor([float(board.is_checkmate())], device=self._device)
        out["terminated"] = torch.tensor([board.is_game_over()], device=self._device)
        return out

    def _shown(self, board: Any, san: str) -> TensorDictBase:
        squares = torch.zeros(64, dtype=torch.int8)
        for square, piece in board.piece_map().items():
            squares[square] = piece.piece_type if piece.color else -piece.piece_type
        out = TensorDict({"board": squares.view(8, 8), "turn": torch.tensor([board.turn])})
        if self._masked or self._listed:
            numbers = torch.tensor(self._legal(board), dtype=torch.int64)
            if self._masked:
                mask = torch.full((len(self.moves),), len(numbers) == 0)
                mask[numbers] = True
                out["action_mask"] = mask
            if self._listed:
                out["legal_moves"] = torch.nn.functional.pad(numbers, (0, MOST_LEGAL_MOVES - len(numbers)), value=-1)
        if self._hashed:
            out["hash"] = torch.tensor([_signed(_zobrist(board))])
        if self._device is not None:
            out = out.to(self._device)
        for name in self._texts:
            text = board.fen() if name == "fen" else _pgn(board) if name == "pgn" else san
            out.set_non_tensor(name, text)
        return out


@lru_cache
def _library() -> Any:
    try:
        import chess
    except ImportError as error:
        raise MissingDependencyError("ChessEnv needs python-chess: pip install 'envkit[chess]'") from error
    return chess


@lru_cache
def _all_moves() -> tuple[str, ...]:
    """The moves of a queen and of a knight from every square of an empty board, and promotions; 1,968 in all."""
    chess = _library()
    moves = []
    for start in chess.SQUARES:
        board = chess.Board(None)
        for piece in (chess.QUEEN, chess.KNIGHT):
            board.set_piece_at(start, chess.Piece(piece, chess.WHITE))
            for target in board.attacks(start):
                moves.append(chess.Move(start, target).uci())
                ranks = (chess.square_rank(start), chess.square_rank(target))
                near = abs(chess.square_file(start) - chess.square_file(target)) <= 1
                if near and ranks in ((6, 7), (1, 0)):
                    moves += [chess.Move(start, target, promotion).uci() for promotion in range(2, 6)]
    return tuple(sorted(moves))


@lru_cache
def _numbers() -> dict[str, int]:
    return {move: number for number, move in enumerate(_all_moves())}


def _pgn(board: Any) -> str:
    import chess.pgn

    exporter = chess.pgn.StringExporter(headers=False, comments=False, variations=False)
    return chess.pgn.Game.from_board(board).accept(exporter)


def _zobrist(board: Any) -> int:
    import chess.polyglot

    return chess.polyglot.zobrist_hash(board)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
