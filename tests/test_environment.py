import json

from echosweep.environment import environment


def test_environment_is_json_and_names_the_versions() -> None:
    value = json.loads(json.dumps(environment()))
    assert value["packages"]["echosweep"]
    assert value["python"].count(".") == 2
