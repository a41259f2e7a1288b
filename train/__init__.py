"""Training stages: `python -m train STAGE`."""
