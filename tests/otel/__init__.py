"""Wakelog in a pipeline of OpenTelemetry's: the drop-in, encoding, metrics, set-up."""
