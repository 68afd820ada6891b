"""What operators see of a process: its log, its traces and its error reports."""
