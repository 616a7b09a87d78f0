"""Latency and energy before the board, with error bars."""
