"""`flask doctor`: looks for mistakes in a deployment, and says what to do."""
