"""The planner's techniques: reading, templates, rendering."""
