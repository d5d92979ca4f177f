"""Support for tests: the real Collector, and what it wrote, decoded."""
