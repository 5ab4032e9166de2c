"""What transforms compute, as plain functions: values in, values out, no keys, no env, no memory.

One family a file, named like the file of the transforms that use it. Where the operations give the same bits in both,
functions take numpy arrays as well as tensors, and say so.
"""

from envkit.transforms.functional.elementwise import clip, expand_to, sign, weighted_sum
from envkit.transforms.functional.images import grayscale, resize
from envkit.transforms.functional.moments import update_moments
from envkit.transforms.functional.normalise import affine, standardize
from envkit.transforms.functional.returns import reward_to_go

__all__ = [
    "affine",
    "clip",
    "expand_to",
    "grayscale",
    "resize",
    "reward_to_go",
    "sign",
    "standardize",
    "update_moments",
    "weighted_sum",
]
