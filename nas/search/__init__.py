"""The search: from settings to a run folder with a front of exported models."""
