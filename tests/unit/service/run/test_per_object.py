"""Options with one value per object."""

from __future__ import annotations

import pytest

from service.errors import UsageError
from service.prompts.colors.names import parse_hex
from service.run.options import JobOptions, RunOptions


def test_text_and_json_mean_the_same() -> None:
    """The command line's pairs and the mapping of HTTP and SDK give the same names and colors."""
    for labels, colors in (
        ("1=dog, 2=a person", "1=#FF8800,2=teal"),
        ({"1": "dog", 2: "a person"}, {1: "#f80", 2: "teal"}),
    ):
        options = RunOptions.checked(labels=labels, colors=colors)
        assert options.labels == {1: "dog", 2: "a person"}
        assert options.colors == {1: "#ff8800", 2: "#008080"}
        assert (
            JobOptions.model_validate_json(options.model_copy().model_dump_json(include={"labels"})).labels
            == options.labels
        )
    assert parse_hex("#ff8801") == (255, 136, 1)


@pytest.mark.parametrize(
    "text", ["dog", "1=", "=dog", "0=dog", "256=dog", "1=dog,1=cat", "1=dog,", "", "x=dog", "1.5=dog"]
)
def test_bad_names_are_refused_in_one_line(text: str) -> None:
    """The error has the value and what is allowed."""
    with pytest.raises(UsageError) as caught:
        RunOptions.checked(labels=text)
    assert str(caught.value) == (
        f"labels is {text!r}; allowed: ID=VALUE,ID=VALUE, such as 1=dog,2=person; ids are 1 to 255, each at most once"
    )


@pytest.mark.parametrize("text", ["1=redd", "1=#ff", "1=300"])
def test_bad_colors_are_refused_in_one_line(text: str) -> None:
    """The error has the value and what is allowed."""
    with pytest.raises(
        UsageError, match=rf"^colors is '{text}'; '{text[2:]}' is no color; allowed: #rrggbb or a CSS name"
    ):
        RunOptions.checked(colors=text)


def test_a_name_has_an_end() -> None:
    """Names of 64 characters are allowed, longer ones and control characters are not."""
    assert RunOptions.checked(labels={1: "x" * 64}).labels == {1: "x" * 64}
    for name in ("x" * 65, "a\tb"):
        with pytest.raises(UsageError, match="1 to 64 printable characters"):
            RunOptions.checked(labels={1: name})
