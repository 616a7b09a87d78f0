"""Boards, releases and limits as TOML, with a source for each figure."""
