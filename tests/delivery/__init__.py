"""Delivery: what the next hop answers, what is sent when, and what an exit does."""
