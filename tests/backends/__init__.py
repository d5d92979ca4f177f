"""Real servers: Collector, Jaeger, Prometheus, VictoriaLogs."""
