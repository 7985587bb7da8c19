"""From audio features to motion."""
