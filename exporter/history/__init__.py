"""The past, rebuilt from the database and taken through rules again: backtest, capture, explain."""

from exporter.history.replay import Replay

__all__ = ["Replay"]
