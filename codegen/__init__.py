"""A compiler from Hugging Face configs and modeling code to readable PyTorch and Flax NNX source."""

__version__ = "0.1.0"
