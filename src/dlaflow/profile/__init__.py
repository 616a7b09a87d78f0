"""What was measured, as `Measurement` records: accuracy, latency, power, concurrency."""
