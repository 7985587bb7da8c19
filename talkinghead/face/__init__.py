"""Finding, modelling and moving a face."""
