"""Files that are read more than once."""

from sibp.experiments import yaml_file


def test_a_file_that_was_read_is_read_as_it_is_now_and_as_nobody_has_changed_it(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("methods: {sgd: {eta: 1}}")
    yaml_file.read(file)["methods"]["sgd"]["eta"] = 2
    assert yaml_file.read(file) == {"methods": {"sgd": {"eta": 1}}}
    file.write_text("methods: {}")
    assert yaml_file.read(file) == {"methods": {}}
