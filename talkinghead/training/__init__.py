"""Making the models: a speech corpus, articulation targets, the training loop."""
