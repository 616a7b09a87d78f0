"""The same work on a board over SSH: one agent file, three transports, jobs that outlive the connection."""
