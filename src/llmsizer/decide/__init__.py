"""Candidates, the recommendation with its rejections, and what would flip it."""
