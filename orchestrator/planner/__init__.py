"""Dataset to chunks: the planner's steps and what only they need."""
