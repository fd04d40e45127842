"""The files made from the models, and the command that makes, checks and releases them."""

import dataclasses
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import Field

import contracts
from contracts import Message, Payload, Registry, artefacts
from contracts.__main__ import main
from contracts.artefacts import Catalogue
from contracts.catalogue import REGISTRY
from contracts.examples import EXAMPLES
from contracts.schemas import json_schema
from contracts.topics import TOPICS

HOME = Path(__file__).parents[1]
HERE = Catalogue(REGISTRY, TOPICS, EXAMPLES)
RELEASED = sorted(HOME.glob("released/*/v*.example.json"))


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


@pytest.fixture
def run(root, capsys):
    """Runs the command on a separate folder; gives the exit code and the lines that it printed."""

    def run(*arguments: str, catalogue: Catalogue) -> tuple[int, list[str]]:
        code = main(["--root", str(root), *arguments], catalogue)
        return code, capsys.readouterr().out.splitlines()

    return run


def test_the_committed_files_are_what_the_models_give():
    assert artefacts.stale_files(HERE, HOME) == []


def test_nothing_breaks_what_is_released():
    assert artefacts.breaches(HERE, HOME) == []
    assert artefacts.unreleased(HERE, HOME) == []


@pytest.mark.parametrize("message", REGISTRY.messages(), ids=lambda message: message.__name__)
def test_examples_satisfy_their_schema(message):
    schema = json_schema(message)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    body = json.loads(EXAMPLES[message].to_bytes())
    validator.validate(body)
    assert not validator.is_valid(body | {"revision": 0})
    assert validator.is_valid(body | {"colour": "blue"}), "a reader's schema is open"


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.name.partition('.')[0]}")
def test_what_older_producers_sent_is_still_read(path):
    message = contracts.parse(path.read_bytes())
    assert type(message) in REGISTRY.newest()


def test_there_is_something_released():
    assert len(RELEASED) == len(REGISTRY.messages())


def _described(schema: dict, path: str = "") -> list[str]:
    places = [path] if "properties" in schema and not schema.get("description") else []
    for name, field in schema.get("properties", {}).items():
        places += [] if field.get("description") else [f"{path}.{name}"]
    for name, definition in schema.get("$defs", {}).items():
        places += _described(definition, name)
    return places


@pytest.mark.parametrize("message", REGISTRY.messages(), ids=lambda message: message.__name__)
def test_every_field_says_what_it_means(message):
    assert _described(json_schema(message)) == []


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


@pytest.mark.parametrize("path", sorted(HOME.glob("asyncapi/*.json")), ids=lambda path: path.stem)
def test_an_asyncapi_document_is_whole(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["asyncapi"] == "3.0.0"
    for reference in _references(document):
        target: object = document
        for step in reference.removeprefix("#/").split("/"):
            assert isinstance(target, dict)
            target = target[step]
    assert document["channels"].keys() == {
        topic.name for topic in TOPICS.values() if path.stem in {"suite", topic.producer}
    }
    sent = {
        reference["$ref"].rpartition("/")[2]
        for operation in document["operations"].values()
        for reference in operation["messages"]
    }
    assert sent == document["components"]["messages"].keys()
    for message in document["components"]["messages"].values():
        schema = {**message["payload"], "components": document["components"]}
        Draft202012Validator(schema).validate(message["examples"][0]["payload"])


def test_generate_writes_what_is_missing_and_takes_away_what_is_gone(run, root, old_release, new_release):
    assert run("generate", catalogue=new_release)[0] == 0
    assert (root / "schemas/visit.made/v2.json").is_file()
    code, lines = run("generate", "--check", catalogue=old_release)
    assert (code, lines[-1]) == (1, "Refused: 4 files differ from the models. Run: python -m contracts generate")
    assert "not up to date: schemas/visit.made/v2.json" in lines
    assert (root / "schemas/visit.made/v2.json").is_file(), "--check writes nothing"
    code, lines = run("generate", catalogue=old_release)
    assert (code, lines[-1]) == (0, "Done: 6 files, 4 of them changed.")
    assert not (root / "schemas/visit.made/v2.json").exists()
    code, lines = run("generate", "--check", catalogue=old_release)
    assert (code, lines) == (0, ["All 6 files are what the models give."])


def test_a_new_version_next_to_the_old_one_is_fine_and_waits_for_its_release(run, root, old_release, new_release):
    run("generate", catalogue=old_release)
    code, lines = run("release", catalogue=old_release)
    assert (code, lines[-1]) == (0, "Released: 5 files written.")
    run("generate", catalogue=new_release)
    code, lines = run("check", catalogue=new_release)
    assert code == 0
    assert lines[-1].endswith("Not released yet: visit.made v2 (python -m contracts release).")
    assert run("release", catalogue=new_release)[0] == 0
    assert (root / "released/visit.made/v2.example.json").is_file()
    assert run("release", catalogue=new_release)[1][-1] == "Everything was released already."


def test_check_fails_on_files_that_are_not_up_to_date(run, root, old_release):
    run("generate", catalogue=old_release)
    (root / "schemas/visit.made/v1.json").write_text("{}")
    code, lines = run("check", catalogue=old_release)
    assert code == 1
    assert lines[0] == "not up to date: schemas/visit.made/v1.json. Run: python -m contracts generate"


class NarrowData(Payload):
    """A careless change of version 1."""

    visitor: str = Field(max_length=5, description="Given and family name.")
    gate: str = Field(description="Where.")


class NarrowVisit(Message):
    """Somebody came."""

    type: Literal["visit.made"]
    version: Literal[1]
    data: NarrowData = Field(description="The visit.")


def test_a_breaking_change_is_refused_with_message_place_and_advice(run, old_release):
    run("generate", catalogue=old_release)
    run("release", catalogue=old_release)
    ended = old_release.registry.versions["visit.ended"][1]
    made = next(iter(old_release.examples.values()))
    narrowed = made.model_copy(update={"data": NarrowData(visitor="Roe", gate="N")})
    careless = Catalogue(
        Registry([NarrowVisit, ended]), old_release.topics, {**old_release.examples, NarrowVisit: narrowed}
    )
    run("generate", catalogue=careless)
    code, lines = run("check", catalogue=careless)
    assert code == 1
    assert lines == [
        (
            "visit.made v1  data.gate: new required field: a newer reader refuses what an older writer sends. "
            "Instead: leave version 1 as it was and make version 2 of visit.made."
        ),
        (
            "visit.made v1  data.visitor: maxLength tightened: none to 5; a newer reader refuses what an older writer "
            "sends. Instead: leave version 1 as it was and make version 2 of visit.made."
        ),
        "Refused: 2 changes break an older reader or writer, 0 files are not up to date.",
    ]
    code, lines = run("release", catalogue=careless)
    assert (code, lines[-1]) == (1, "Nothing was released.")


def test_a_compatible_change_is_let_through_and_released(run, root, old_release):
    run("generate", catalogue=old_release)
    run("release", catalogue=old_release)
    data = old_release.registry.versions["visit.made"][1].model_fields["data"].annotation

    class Richer(data):
        """What version 1 says."""

        since: date | None = Field(default=None, description="Member since.")

    class RicherVisit(Message):
        """Somebody came by."""

        type: Literal["visit.made"]
        version: Literal[1]
        data: Richer = Field(description="The visit, in other words.")

    ended = old_release.registry.versions["visit.ended"][1]
    sent = dict(next(iter(old_release.examples.values())))
    example = RicherVisit(**sent | {"data": Richer(visitor="Jane Roe", since=date(2020, 1, 1))})
    richer = Catalogue(
        Registry([RicherVisit, ended]), old_release.topics, {**old_release.examples, RicherVisit: example}
    )
    frozen = (root / "released/visit.made/v1.example.json").read_text()
    run("generate", catalogue=richer)
    assert run("release", catalogue=richer) == (
        0,
        [
            "Contracts hold: 2 message versions and 2 topics fit what is released.",
            "froze released/visit.made/v1.json",
            "Released: 1 files written.",
        ],
    )
    assert (root / "released/visit.made/v1.example.json").read_text() == frozen, "what was sent was sent"


def test_a_message_or_version_cannot_go(run, root, new_release):
    run("generate", catalogue=new_release)
    run("release", catalogue=new_release)
    second = new_release.registry.versions["visit.made"][2]
    ended = new_release.registry.versions["visit.ended"][1]
    without_first = dataclasses.replace(new_release, registry=Registry([second, ended]))
    assert [(one.contract, one.what) for one in artefacts.breaches(without_first, root)] == [
        ("visit.made v1", "version removed")
    ]
    topics = {"visit.ended": new_release.topics["visit.ended"]}
    without_message = Catalogue(Registry([ended]), topics, new_release.examples)
    assert [(one.contract, one.what) for one in artefacts.breaches(without_message, root)] == [
        ("visit.made v1", "message removed"),
        ("visit.made v2", "message removed"),
        ("topic visit.made", "topic removed"),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"partitions": 12}, "partitions changed: 6 to 12"),
        ({"partitions": 1}, "partitions changed: 6 to 1"),
        ({"key": "message_id"}, "key changed: aggregate_id to message_id"),
        ({"cleanup_policy": "compact"}, "cleanup_policy changed: delete to compact"),
        ({"retention_ms": 1000}, "retention shortened: 2592000000 to 1000 ms"),
    ],
)
def test_a_topic_cannot_change_what_readers_count_on(run, root, old_release, change, says):
    run("generate", catalogue=old_release)
    run("release", catalogue=old_release)
    topics = {**old_release.topics, "visit.made": dataclasses.replace(old_release.topics["visit.made"], **change)}
    found = artefacts.breaches(dataclasses.replace(old_release, topics=topics), root)
    assert [(one.contract, one.what) for one in found] == [("topic visit.made", says)]


def test_a_topic_may_keep_its_messages_longer_and_new_ones_may_come(run, root, old_release, new_release):
    run("generate", catalogue=old_release)
    run("release", catalogue=old_release)
    longer = {name: dataclasses.replace(topic, retention_ms=2**45) for name, topic in old_release.topics.items()}
    assert artefacts.breaches(dataclasses.replace(new_release, topics=longer), root) == []


def test_a_message_needs_an_example_and_a_topic(old_release):
    with pytest.raises(ValueError, match="has no example"):
        Catalogue(old_release.registry, old_release.topics, {})
    with pytest.raises(ValueError, match=r"odd ones: visit\.made"):
        Catalogue(old_release.registry, {"visit.ended": old_release.topics["visit.ended"]}, old_release.examples)


def test_the_command_runs_by_itself_and_explains_itself(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "contracts", "check"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("Contracts hold: 13 message versions and 11 topics")
    for arguments in (["--help"], ["generate", "--help"], ["check", "--help"], ["release", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["destroy"])
    assert ended.value.code == 2
    assert main(["--root", str(tmp_path), "check"]) == 2


def test_every_topic_has_several_partitions_and_an_opaque_key():
    assert all(topic.partitions > 1 and topic.key == "aggregate_id" for topic in TOPICS.values())
    assert all(name == topic.name for name, topic in TOPICS.items())
