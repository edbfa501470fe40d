"""Accuracy of architectures: training the supernet, scoring with it, fine-tuning finalists."""
