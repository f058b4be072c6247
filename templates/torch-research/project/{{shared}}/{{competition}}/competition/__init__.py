"""Yours: how the competition scores, and what happens to predictions before they are sent."""
