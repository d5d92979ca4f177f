"""Spans: lines, ends that nobody saw, crashes."""
