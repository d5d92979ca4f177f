"""Seals, proofs, erasure."""
