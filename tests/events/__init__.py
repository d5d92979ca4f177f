"""What agents do: events, loggers, blocks, replay, cost."""
