"""Stored polls read back and replayed through rules: what backtest, capture and explain share."""
