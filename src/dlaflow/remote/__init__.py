"""Build, measure and evaluate on boards over SSH: one agent file, three transports, jobs that outlive a connection."""
