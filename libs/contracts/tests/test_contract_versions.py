"""Old producer with new consumer and the reverse, by a message with two versions for tests only."""

import json
from typing import Literal

import pytest

import contracts
from contracts import ContractError, Message, Registry
from contracts.artefacts import Catalogue


def newest(catalogue: Catalogue, name: str) -> type[Message]:
    versions = catalogue.registry.versions[name]
    return versions[max(versions)]


def test_new_consumer_reads_what_an_old_producer_writes(old_release, new_release):
    written = old_release.examples[newest(old_release, "visit.made")]
    read = new_release.registry.parse(written.to_bytes())
    assert read.version == 2
    assert read.data.model_dump() == {"given": "Jane", "family": "Roe", "born": None}
    kept = ("message_id", "occurred_at", "producer", "aggregate_id", "revision", "correlation_id", "causation_id")
    assert [getattr(read, name) for name in kept] == [getattr(written, name) for name in kept]


def test_old_consumer_reads_the_kept_version_that_a_new_producer_writes_until_all_readers_are_new(
    old_release, new_release
):
    kept = new_release.registry.versions["visit.made"][1]
    written = new_release.examples[kept]
    read = old_release.registry.parse(written.to_bytes())
    assert read.data.model_dump() == {"visitor": "Jane Roe"}


def test_old_consumer_reads_a_message_with_a_new_optional_field(old_release, new_release):
    body = json.loads(old_release.examples[newest(old_release, "visit.made")].to_bytes())
    body["data"]["badge"] = "B-7"
    assert old_release.registry.parse(json.dumps(body).encode()).version == 1


def test_new_consumer_reads_a_message_from_before_an_optional_field(new_release):
    body = json.loads(new_release.examples[newest(new_release, "visit.ended")].to_bytes())
    del body["data"]["born"]
    assert new_release.registry.parse(json.dumps(body).encode()).data.born is None


def test_old_consumer_refuses_a_version_that_it_does_not_know_and_says_so(old_release, new_release):
    too_new = new_release.examples[newest(new_release, "visit.made")].to_bytes()
    with pytest.raises(ContractError, match=r"version: this release knows visit\.made in version 1 only"):
        old_release.registry.parse(too_new)


def test_both_kept_versions_are_read_and_a_third_is_refused_by_name(new_release):
    body = json.loads(new_release.examples[newest(new_release, "visit.made")].to_bytes())
    with pytest.raises(ContractError, match=r"version: this release knows visit\.made in version 1, 2 only"):
        new_release.registry.parse(json.dumps(body | {"version": 3}).encode())


def test_a_path_leaves_out_how_the_version_was_found(new_release):
    body = json.loads(new_release.examples[newest(new_release, "visit.made")].to_bytes())
    body["data"]["given"] = 7
    with pytest.raises(ContractError) as refused:
        new_release.registry.parse(json.dumps(body).encode())
    assert refused.value.path == "data.given"


def test_upcasters_chain_over_several_versions(new_release):
    class VisitMadeV3(newest(new_release, "visit.made")):
        """Somebody came."""

        version: Literal[3]

    first, second = new_release.registry.versions["visit.made"].values()
    only = new_release.registry._upcasters[first]
    registry = Registry(
        [first, second, VisitMadeV3],
        {first: only, second: lambda old: VisitMadeV3.upcast_from(old, old.data)},
    )
    read = registry.parse(new_release.examples[first].to_bytes())
    assert (type(read), read.data.family) == (VisitMadeV3, "Roe")


def test_an_old_version_without_an_upcaster_is_refused_at_start(new_release):
    with pytest.raises(ValueError, match=r"visit\.made version 1 has no upcaster"):
        Registry(new_release.registry.messages())


def test_two_models_of_one_version_are_refused_at_start(old_release):
    model = newest(old_release, "visit.made")
    with pytest.raises(ValueError, match="two models of version 1"):
        Registry([model, model])


def test_every_message_of_this_release_is_what_readers_see():
    assert {message.MESSAGE_TYPE for message in contracts.REGISTRY.newest()} == set(contracts.topics.TOPICS)
