"""The generated stubs are those of the protos."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
from grpc_tools import protoc

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("package", "folder", "name"),
    [("exporter/bridge/stubs", "bacen/dict/v2", "rate_limit"), ("exporter/feed/stubs", "dict_rate_limit/v1", "feed")],
)
def test_the_committed_stubs_are_those_of_the_proto(tmp_path, package, folder, name) -> None:
    out = tmp_path / "generated"
    out.mkdir()

    code = protoc.main(
        [
            "protoc",
            f"-I{resources.files('grpc_tools') / '_proto'}",
            f"-I{package}={ROOT / 'protos' / folder}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            f"{package}/{name}.proto",
        ]
    )

    assert code == 0
    made = {file.name: file.read_text() for file in (out / package).iterdir()}
    assert made == {file: (ROOT / package / file).read_text() for file in made}
    assert len(made) == 3
