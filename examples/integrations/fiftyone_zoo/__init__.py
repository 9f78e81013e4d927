"""What FiftyOne's model zoo calls."""

from .zoo import download_model, load_model

__all__ = ["download_model", "load_model"]
