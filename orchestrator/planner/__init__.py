"""Dataset to chunks: the planner's steps and their helpers."""
