from __future__ import annotations

from envkit.libs.class_property import class_property


class Library:
    shelf = ("b", "a")

    @class_property
    def books(cls):
        """All of them."""
        return sorted(cls.shelf)


class Branch(Library):
    shelf = ("c",)


def test_of_the_class_that_is_asked():
    assert Library.books == ["a", "b"]
    assert Branch.books == Branch().books == ["c"]


def test_worked_out_anew():
    assert Library.books is not Library.books
    assert vars(Library)["books"].__doc__ == "All of them."
