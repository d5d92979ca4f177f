"""The compiled encoders, beside those in Python."""
