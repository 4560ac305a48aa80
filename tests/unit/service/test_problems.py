"""Problems: which one answers an error, and what its document contains."""

from __future__ import annotations

import pickle

from codec.errors import EncryptedError
from service.errors import QueueFullError
from service.problems import PROBLEMS, ProblemError, problem_document, problem_of


def test_the_table_of_errors_selects_the_problem() -> None:
    """An error of any layer is answered with the problem type of its row and its own message."""
    for error, kind in (
        (EncryptedError("the video is encrypted"), "video-encrypted"),
        (QueueFullError(), "queue-full"),
    ):
        problem = problem_of(error)
        assert problem.kind == kind
        assert problem.detail == (str(error) or "QueueFullError")


def test_a_problem_error_selects_itself() -> None:
    """A `ProblemError` keeps its type, detail and members, also on its way out of a sandbox process."""
    error = ProblemError("too-many-objects", "the mask has 51 objects; allowed: 50", limit=50)
    assert problem_of(error) is error
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.kind, copy.detail, copy.members) == (error.kind, error.detail, error.members)


def test_an_unexpected_error_is_an_internal_error() -> None:
    """An error that no layer raises on purpose is an internal error."""
    assert problem_of(ZeroDivisionError("x")).kind == "internal-error"


def test_a_document_states_type_title_status_and_detail() -> None:
    """The document has the members of RFC 9457, section 3.1, and the further members of the case."""
    assert problem_document("queue-full", "7 jobs wait; allowed: 7", {"limit": 7}) == {
        "type": "/problems/queue-full",
        "title": PROBLEMS["queue-full"].title,
        "status": 429,
        "detail": "7 jobs wait; allowed: 7",
        "limit": 7,
    }
