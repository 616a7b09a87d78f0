"""Text, JSON, SARIF and HTML over the same records."""
