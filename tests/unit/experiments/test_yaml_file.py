"""Files that are read more than once."""

import pytest

from sibp.experiments import yaml_file


def test_a_file_that_was_read_is_read_as_it_is_now_and_as_nobody_has_changed_it(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("methods: {sgd: {eta: 1}}")
    yaml_file.read(file)["methods"]["sgd"]["eta"] = 2
    assert yaml_file.read(file) == {"methods": {"sgd": {"eta": 1}}}
    file.write_text("methods: {}")
    assert yaml_file.read(file) == {"methods": {}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("id: a\nnote: 2020-13-45\n", "line 2, column 7: month must be in 1..12"),
        ("id: a\n---\nid: b\n", "line 2, column 1: begins a second document (---), need one in a file"),
    ],
)
def test_a_wrong_date_and_a_second_document_name_their_line(tmp_path, text, line):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(yaml_file.SpecError) as caught:
        yaml_file.read(file)
    assert str(caught.value).startswith(f"{file}: {line}")
