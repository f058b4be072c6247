"""What your code may need of the machinery, and room for helpers of your own."""

from machinery.errors import InputError, ResourceError
from machinery.sampling import fold_seed

__all__ = ["InputError", "ResourceError", "fold_seed"]
